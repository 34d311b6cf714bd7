#include <cmath>

#include "check.h"
#include "core/npy.h"
#include "edgeproof/json.h"
#include "system/units.h"

using namespace edgeproof;
using edgeproof::app::seconds_of;

TEST(durations_are_what_the_golden_says) {
    const auto golden = json::parse(read_text(GOLDEN_DIR "/durations.json"));
    const auto &cases = golden.at("cases").array();
    CHECK(cases.size() > 20);
    for (const auto &one : cases) {
        const std::string &text = one.at("text").string();
        const auto found = seconds_of(text);
        const json::Value &expected = one.at("seconds");
        CHECK_WITH(found.has_value() == !expected.is_null(), text);
        if (found && !expected.is_null()) CHECK_WITH(std::abs(*found - expected.number()) < 1e-9, text);
    }
    CHECK(!seconds_of(std::string(400, '9')));
}
