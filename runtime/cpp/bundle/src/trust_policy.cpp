#include <map>
#include <set>
#include <sstream>

#include "edgeproof/failure.h"
#include "edgeproof/signatures.h"
#include "envelope.h"
#include "files.h"

namespace edgeproof {
namespace {

constexpr std::int64_t max_bytes = std::int64_t{1} << 20;
const std::string what_is_read = "a PEM public key, PEM certificates, or a policy NAME.toml";

/// A value of a policy: a string, or a time, which is kept as text.
struct Value {
    std::string text;
    bool is_time = false;
};
using Table = std::map<std::string, Value>;

std::string trimmed(const std::string &text) {
    const std::size_t begin = text.find_first_not_of(" \t");
    return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

/// The part of TOML that policies need: comments, `[[signer]]`, and `name = value` with a string in one line without
/// escapes or a UTC time. Anything else is refused, so that no policy means something else here than in Python.
class PolicyReader {
  public:
    PolicyReader(const std::filesystem::path &path, const std::string &content) : path_(path) {
        std::istringstream text(content);
        for (std::string line; std::getline(text, line);) {
            ++number_;
            if (!line.empty() && line.back() == '\r') line.pop_back();
            read(trimmed(line));
        }
    }

    Table top;
    std::vector<Table> signers;

  private:
    void read(const std::string &line) {
        if (line.empty() || line.front() == '#') return;
        if (line.front() == '[') {
            if (line.compare(0, 10, "[[signer]]") != 0 || !is_comment(trimmed(line.substr(10))))
                throw wrong(line, "[[signer]]");
            signers.emplace_back();
            return;
        }
        const std::size_t equals = line.find('=');
        const std::string name = trimmed(line.substr(0, equals));
        if (equals == std::string::npos || name.empty() ||
            name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") != std::string::npos)
            throw wrong(line, "name = value");
        Table &table = signers.empty() ? top : signers.back();
        if (!table.emplace(name, value_of(trimmed(line.substr(equals + 1)))).second)
            throw wrong(line, "each name once");
    }

    Value value_of(const std::string &text) const {
        if (!text.empty() && text.front() == '"') {
            const std::size_t end = text.find('"', 1);
            if (end == std::string::npos || text.find('\\') < end || !is_comment(trimmed(text.substr(end + 1))))
                throw wrong(text, "a string in one line, without escapes");
            for (const char c : text.substr(1, end - 1))
                if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) throw wrong(text, "a string of printable text");
            return {text.substr(1, end - 1), false};
        }
        if (text.size() < 20 || !is_comment(trimmed(text.substr(20))) || !is_time(text.substr(0, 20)))
            throw wrong(text, "a string, or a time with zone: 2026-11-28T12:00:00Z");
        return {text.substr(0, 20), true};
    }

    static bool is_comment(const std::string &text) { return text.empty() || text.front() == '#'; }

    Failure wrong(const std::string &got, const std::string &expected) const {
        return bad_input(path_.string() + ": line " + std::to_string(number_) + ": not of a policy", got, expected);
    }

    std::filesystem::path path_;
    int number_ = 0;
};

void require_known(const Table &table, const std::set<std::string> &fields, const std::string &where) {
    for (const auto &[name, value] : table)
        if (fields.count(name) == 0) throw bad_input(where + ": unknown field", name);
}

std::string time_of(const Table &table, const std::string &field, const std::string &where) {
    const auto found = table.find(field);
    if (found == table.end()) return {};
    if (!found->second.is_time)
        throw bad_input(where + ": " + field + ": invalid", found->second.text,
                        "a time with zone: 2026-11-28T12:00:00Z");
    return found->second.text;
}

/// Read and check a file of a key or of certificates. Throws `Failure` (bad input).
TrustPolicy::Signer signer_of(const std::filesystem::path &path, const Crypto &crypto) {
    TrustPolicy::Signer signer;
    signer.name = path.filename().string();
    signer.pem = read_file(path, max_bytes);
    if (signer.pem.find("-----BEGIN CERTIFICATE-----") != std::string::npos) {
        signer.kind = TrustPolicy::Signer::Kind::certificates;
        crypto.check_certificates(signer.pem, path.string());
    } else if (signer.pem.find("PRIVATE KEY-----") != std::string::npos) {
        throw bad_input(path.string() + ": is a private key", {}, "the public key, which verifies",
                        "openssl ec -in private.pem -pubout -out public.pem");
    } else if (signer.pem.find("-----BEGIN PUBLIC KEY-----") == std::string::npos) {
        throw bad_input(path.string() + ": no key", {}, what_is_read);
    } else {
        crypto.check_key(signer.pem, path.string());
    }
    return signer;
}

TrustPolicy::Signer signer_of(const Table &table, const std::filesystem::path &path, const Crypto &crypto) {
    using Kind = TrustPolicy::Signer::Kind;
    const auto text = [&table](const std::string &field) {
        const auto found = table.find(field);
        return found == table.end() || found->second.is_time ? std::string() : found->second.text;
    };
    const std::string name = text("name");
    if (name.empty()) throw bad_input(path.string() + ": signer.name: must be a string");
    const std::string where = path.string() + ": signer " + name;
    require_known(table, {"name", "key", "certificates", "identity", "issuer", "not_before", "not_after"}, where);
    if ((table.count("key") + table.count("certificates") + table.count("identity")) != 1)
        throw bad_input(where + ": requires one of key, certificates and identity");
    TrustPolicy::Signer signer;
    if (table.count("identity") != 0) {
        if (text("issuer").empty()) throw bad_input(where + ": issuer: missing");
        signer.kind = Kind::keyless;
    } else {
        const Kind wanted = table.count("key") != 0 ? Kind::key : Kind::certificates;
        const std::string file = text(wanted == Kind::key ? "key" : "certificates");
        if (file.empty()) throw bad_input(where + ": requires one of key, certificates and identity");
        signer = signer_of(path.parent_path() / file, crypto);
        if (signer.kind != wanted)
            throw bad_input(where + ": " + (wanted == Kind::key ? "key" : "certificates") + ": holds another kind", file);
    }
    signer.name = name;
    signer.not_before = time_of(table, "not_before", where);
    signer.not_after = time_of(table, "not_after", where);
    return signer;
}

}  // namespace

TrustPolicy TrustPolicy::read(const std::filesystem::path &path, const Crypto &crypto) {
    TrustPolicy policy;
    if (path.extension() != ".toml") {
        policy.signers.push_back(signer_of(path, crypto));
        return policy;
    }
    const PolicyReader found(path, read_file(path, max_bytes));
    require_known(found.top, {"signed_after"}, path.string());
    if (found.signers.empty()) throw bad_input(path.string() + ": signer: missing", {}, "[[signer]] with name and key");
    policy.signed_after = time_of(found.top, "signed_after", path.string());
    for (const Table &table : found.signers) policy.signers.push_back(signer_of(table, path, crypto));
    return policy;
}

}  // namespace edgeproof
