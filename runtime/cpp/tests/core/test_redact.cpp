#include "check.h"
#include "core/npy.h"
#include "edgeproof/json.h"
#include "edgeproof/redact.h"

using namespace edgeproof;

TEST(passwords_are_redacted_as_the_golden_cases_say) {
    const auto cases = json::parse(read_text(GOLDEN_DIR "/redact.json"));
    CHECK(cases.array().size() > 5);
    for (const auto &golden : cases.array()) {
        const std::string found = redact(golden.at("text").string());
        CHECK_WITH(found == golden.at("redacted").string(), found);
    }
    const std::string longest(1'000'000, 'a');
    CHECK(redact("rtsp://" + longest) == "rtsp://" + longest);
    CHECK(without_credentials("rtsp://user:pw@camera:554/x?token=y") == "rtsp://camera:554/x");
}
