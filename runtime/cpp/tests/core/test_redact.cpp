#include "check.h"
#include "core/npy.h"
#include "edgeproof/json.h"
#include "edgeproof/redact.h"

using namespace edgeproof;

TEST(passwords_are_redacted_as_the_golden_cases_say) {
    const auto cases = json::parse(read_text(GOLDEN_DIR "/redact.json"));
    CHECK(cases.array().size() > 5);
    for (const auto &golden : cases.array()) {
        const std::string text = golden.at("text").string();
        const std::string found = redact(text);
        CHECK_WITH(found == golden.at("redacted").string(), found);
        if (golden.find("address") == nullptr) continue;
        const std::string address = redact_address(text);
        CHECK_WITH(address == golden.at("address").string(), address);
        const std::string name = without_credentials(text);
        CHECK_WITH(name == golden.at("name").string(), name);
    }
}

TEST(long_texts_are_redacted) {
    const std::string longest(1'000'000, 'a');
    CHECK(redact("rtsp://" + longest) == "rtsp://" + longest);
    CHECK(redact("rtsp://u:" + longest + "@camera") == "rtsp://***@camera");
    std::string slashes;
    for (int i = 0; i < 500'000; ++i) slashes += ":/";
    CHECK(redact(slashes) == slashes);
    CHECK(without_credentials(slashes) == slashes);
}
