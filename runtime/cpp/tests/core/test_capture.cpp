#include <limits>

#include "check.h"
#include "core/npy.h"
#include "edgeproof/capture.h"
#include "edgeproof/json.h"

using namespace edgeproof;

TEST(grabs_come_to_what_the_golden_cases_say) {
    const auto cases = json::parse(read_text(GOLDEN_DIR "/captures.json"));
    CHECK(cases.array().size() > 5);
    for (const auto &golden : cases.array()) {
        const std::string &grabs = golden.at("grabs").string();
        const json::Value &claimed = golden.at("frame_count");
        GrabCount count(claimed.is_null() ? std::nullopt : std::optional<std::int64_t>(claimed.integer()), 10.0);
        std::vector<std::int64_t> indices;
        for (const char grab : grabs) {
            if (grab == 'x' || grab == 'w') {
                if (count.failed(grab == 'w' ? 9.0 : 0.0)) break;
            } else if (const std::int64_t index = count.grabbed(grab == 'o'); grab == 'o') {
                indices.push_back(index);
            }
        }
        std::vector<std::int64_t> expected;
        for (const auto &index : golden.at("indices").array()) expected.push_back(index.integer());
        CHECK_WITH(indices == expected, grabs);
        std::vector<std::string> losses;
        for (const auto &loss : golden.at("losses").array()) losses.push_back(loss.string());
        CHECK_WITH(count.losses(golden.at("live").boolean()) == losses, grabs);
    }
}

TEST(a_drivers_stamp_counts_where_it_is_plausible) {
    const auto cases = json::parse(read_text(GOLDEN_DIR "/stamps.json"));
    for (const auto &golden : cases.array()) {
        const auto arrived = static_cast<std::int64_t>(golden.at("arrived_ns").number());
        const auto expected = static_cast<std::int64_t>(golden.at("captured_ns").number());
        CHECK(stamped_ns(golden.at("stamp_ms").number(), arrived) == expected);
    }
    CHECK(stamped_ns(std::numeric_limits<double>::quiet_NaN(), 5) == 5);
}
