#include "edgeproof/signatures.h"

#include <algorithm>
#include <set>

#include "attachments.h"
#include "edgeproof/failure.h"
#include "edgeproof/spec.h"
#include "envelope.h"
#include "files.h"
#include "sha256.h"

namespace edgeproof {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t most_signatures = 32;
constexpr std::size_t most_files = 65536;
constexpr std::size_t named = 5;
const std::string signatures = std::string(spec::signing_folder) + "/";
const std::string attachments = "attachments/";

bool begins_with(const std::string &text, const std::string &start) { return text.compare(0, start.size(), start) == 0; }

/// A record of an attachment or one of its files: its sha256, a dot and a name.
bool is_attached(const std::string &name) {
    const std::size_t begin = attachments.size();
    if (!begins_with(name, attachments) || name.size() < begin + 66 || name[begin + 64] != '.') return false;
    for (std::size_t i = 0; i < 64; ++i) {
        const char c = name[begin + i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
    }
    return name.find('/', begin) == std::string::npos;
}

/// Names of all files; a writer's temporary files in attachments/ are left out.
std::vector<std::string> files_in(const fs::path &root) {
    std::vector<std::string> found;
    std::vector<fs::path> folders{root};
    while (!folders.empty()) {
        const fs::path folder = folders.back();
        folders.pop_back();
        std::error_code error;
        for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
            const std::string name = entry->path().lexically_relative(root).generic_string();
            const fs::file_status status = entry->symlink_status();
            if (status.type() == fs::file_type::symlink)
                throw bad_input(root.string() + ": holds a symbolic link", "'" + name + "'", "regular files");
            if (status.type() == fs::file_type::directory) {
                folders.push_back(entry->path());
            } else if (status.type() != fs::file_type::regular) {
                throw bad_input(root.string() + ": not a regular file", "'" + name + "'");
            } else if (!begins_with(name, attachments + ".")) {
                found.push_back(name);
            }
        }
        if (error) throw bad_input(folder.string() + ": cannot be read", error.message());
        if (found.size() > most_files)
            throw bad_input(root.string() + ": too many files", "more than " + std::to_string(most_files));
    }
    std::sort(found.begin(), found.end());
    return found;
}

std::string some(const std::vector<std::string> &names) {
    std::string text;
    for (std::size_t i = 0; i < std::min(names.size(), named); ++i) text += (i == 0 ? "'" : ", '") + names[i] + "'";
    return names.size() <= named ? text : text + " and " + std::to_string(names.size() - named) + " more";
}

void check_names(const Signed &found, const std::vector<std::string> &names) {
    std::vector<std::string> missing, added;
    const std::set<std::string> present(names.begin(), names.end());
    for (const auto &[name, digest] : found.digests)
        if (begins_with(name, signatures) || present.count(name) == 0) missing.push_back(name);
    for (const std::string &name : names)
        if (!begins_with(name, signatures) && found.digests.count(name) == 0 && !is_attached(name))
            added.push_back(name);
    if (!missing.empty()) throw bad_input("signed files are missing", some(missing));
    if (!added.empty()) throw bad_input("holds files that were not signed", some(added));
    if (found.digests.count("bundle.json") == 0) throw bad_input("does not cover bundle.json");
}

std::string digest_of(const fs::path &path) {
    const RegularFile file(path, spec::max_compiled_bytes);
    std::vector<char> piece(std::size_t{1} << 16);
    Sha256 hash;
    while (const std::size_t count = file.read(piece.data(), piece.size())) hash.update({piece.data(), count});
    return hash.hex();
}

void check_contents(const fs::path &root, const Signed &found, std::map<std::string, std::string> &digests) {
    std::vector<std::string> changed;
    for (const auto &[name, expected] : found.digests) {
        auto known = digests.find(name);
        if (known == digests.end()) known = digests.emplace(name, digest_of(root / name)).first;
        if (known->second != expected) changed.push_back(name);
    }
    if (!changed.empty()) throw bad_input("files were changed after they were signed", some(changed));
}

std::string time_text(std::time_t now) {
    std::tm parts{};
    char text[32];
    ::gmtime_r(&now, &parts);
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

/// Name of the signer, with the subject of a certificate. Throws `Failure` (bad input).
std::string verified_by(const TrustPolicy::Signer &signer, const Envelope &envelope, const Crypto &crypto,
                        std::time_t now) {
    using Kind = TrustPolicy::Signer::Kind;
    const std::string time = time_text(now);
    if (!signer.not_before.empty() && time < signer.not_before)
        throw bad_input("not trusted yet", time, "not_before " + signer.not_before);
    if (!signer.not_after.empty() && time > signer.not_after)
        throw bad_input("expired", time, "not_after " + signer.not_after);
    const std::string wanted = signer.kind == Kind::key            ? "publicKey"
                               : signer.kind == Kind::certificates ? "certificates"
                                                                   : "keyless";
    if (envelope.material != wanted) throw bad_input("another kind of signature", envelope.material, wanted);
    if (signer.kind == Kind::keyless)
        throw unavailable("keyless signatures: not available in edgeproof-run", {}, {}, "sign with a key as well");
    if (signer.kind == Kind::key) {
        crypto.verify(signer.pem, envelope.message(), envelope.signature);
        return signer.name;
    }
    return signer.name + " (" +
           crypto.verify_chain(signer.pem, envelope.certificates, envelope.message(), envelope.signature, now) + ")";
}

std::string names_of(const TrustPolicy &policy) {
    std::string text;
    for (const TrustPolicy::Signer &signer : policy.signers) text += (text.empty() ? "" : ", ") + signer.name;
    return text;
}

}  // namespace

bool Signed::covers(const std::string &name, const std::string &sha256) const {
    const auto found = digests.find(name);
    return found != digests.end() && found->second == sha256;
}

void Signed::require(const std::string &name, const std::string &sha256) const {
    if (covers(name, sha256)) return;
    const auto found = digests.find(name);
    const bool known = found != digests.end();
    throw bad_input(name + (known ? ": changed after it was signed" : ": not signed"), "sha256 " + sha256,
                    known ? "sha256 " + found->second : "a file of " + signature);
}

std::string Signed::note() const { return "signed by " + signer + (signed_at ? " at " + *signed_at : ""); }

Signed verified(const std::string &content, const std::string &name, const TrustPolicy &policy, const Crypto &crypto,
                std::time_t now) {
    const Envelope envelope = read_envelope(content, fs::path(name).filename().string());
    std::string reasons;
    for (const TrustPolicy::Signer &signer : policy.signers) {
        try {
            const std::string by = verified_by(signer, envelope, crypto, now);
            Signed found{by, name, envelope.signed_at(), envelope.digests()};
            if (!policy.signed_after.empty() && (!found.signed_at || *found.signed_at < policy.signed_after))
                throw bad_input("signed too long ago", found.signed_at.value_or("a signature without a time"),
                                "since " + policy.signed_after);
            return found;
        } catch (const Failure &failure) {
            reasons += (reasons.empty() ? "" : "; ") + signer.name + ": " + one_line(failure);
        }
    }
    throw bad_input(reasons);
}

Signed require_signed(const fs::path &folder, const TrustPolicy &policy, const Crypto &crypto, std::time_t now) {
    std::error_code ignored;
    if (!fs::is_directory(folder, ignored)) throw bad_input(folder.string() + ": not a bundle", "no such folder");
    const std::string expected = "a signature by " + names_of(policy);
    const std::string fix = "edgeproof sign " + folder.string() +
                            " --key PRIVATE.pem, where the key is kept; --trust names its public key";
    const std::vector<std::string> names = files_in(fs::canonical(folder));
    std::map<std::string, std::string> digests;
    std::string refusals;
    std::size_t seen = 0;
    for (const std::string &name : names) {
        if (!begins_with(name, signatures) || ++seen > most_signatures) continue;
        try {
            Signed found = verified(read_file(folder / name, spec::max_json_bytes), name, policy, crypto, now);
            check_names(found, names);
            check_contents(folder, found, digests);
            return found;
        } catch (const Failure &failure) {
            refusals += (refusals.empty() ? "" : "; ") + name + ": " + one_line(failure);
        }
    }
    if (seen == 0)
        throw bad_input(folder.string() + ": not signed", "no file in " + signatures, expected, fix);
    throw bad_input(folder.string() + ": no valid signature", refusals, expected, fix);
}

}  // namespace edgeproof
