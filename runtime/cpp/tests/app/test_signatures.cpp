// Signatures that both programs read alike: tests/golden/signatures.json.

#include <ctime>
#include <filesystem>
#include <functional>

#include "bundle/on_disk.h"
#include "check.h"
#include "core/npy.h"
#include "edgeproof/failure.h"
#include "edgeproof/json.h"
#include "signing/openssl.h"

using namespace edgeproof;

namespace {

std::time_t time_of(const std::string &text) {
    std::tm parts{};
    ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return ::timegm(&parts);
}

std::string refusal(const std::function<void()> &work) {
    try {
        work();
    } catch (const Failure &failure) {
        CHECK_WITH(failure.code == ExitCode::bad_input, failure.what());
        return failure.what();
    }
    return {};
}

/// Write the files of a case, and return the one that is given as --trust.
std::filesystem::path write_trust(const std::filesystem::path &folder, const json::Value &trust) {
    for (const auto &[name, content] : trust.object()) write_atomically(folder / name, content.string());
    return folder / trust.object().front().first;
}

}  // namespace

TEST(golden_signatures_are_read_as_in_python) {
    const json::Value cases = json::parse(read_text(GOLDEN_DIR "/signatures.json"));
    CHECK(cases.array().size() > 40);
    for (const json::Value &golden : cases.array()) {
        const std::string &what = golden.at("what").string();
        const OnDisk disk;
        const std::filesystem::path trust = write_trust(disk.folder, golden.at("trust"));
        Signed found;
        const std::string said = refusal([&] {
            const Crypto &crypto = app::openssl();
            found = verified(golden.at("signature").string(), "signatures/a.sig", TrustPolicy::read(trust, crypto),
                             crypto, time_of(golden.at("now").string()));
        });
        if (const json::Value *refused = golden.find("refused")) {
            CHECK_WITH(said.find(refused->string()) != std::string::npos, what + ": " + said);
            continue;
        }
        CHECK_WITH(said.empty(), what + ": " + said);
        CHECK_WITH(found.signer == golden.at("signer").string(), what + ": " + found.signer);
        const json::Value &at = golden.at("signed_at");
        CHECK_WITH(found.signed_at == (at.is_null() ? std::nullopt : std::optional(at.string())), what);
        const json::Object &digests = golden.at("digests").object();
        CHECK_WITH(found.digests.size() == digests.size(), what);
        for (const auto &[name, digest] : digests) CHECK_WITH(found.covers(name, digest.string()), what + ": " + name);
    }
}
