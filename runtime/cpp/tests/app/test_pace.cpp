#include "check.h"
#include "core/npy.h"
#include "edgeproof/json.h"
#include "live/newest.h"
#include "live/pace.h"
#include "sources/adapted.h"

using namespace edgeproof;
using namespace edgeproof::app;

namespace {

std::vector<std::int64_t> positions(const json::Value &list) {
    std::vector<std::int64_t> found;
    for (const auto &one : list.array()) found.push_back(one.integer());
    return found;
}

}  // namespace

TEST(intervals_are_kept_as_the_golden_says) {
    const auto golden = json::parse(read_text(GOLDEN_DIR "/pace.json"));
    CHECK(golden.at("intervals").array().size() > 3);
    for (const auto &one : golden.at("intervals").array()) {
        Pace pace(one.at("every_s").number(), std::nullopt);
        const std::string &by = one.at("by").string();
        const bool live = one.at("live").boolean();
        const json::Value &rate = one.at("fps");
        const auto fps = rate.is_null() ? std::nullopt : std::optional<double>(rate.number());
        std::vector<std::int64_t> kept;
        std::int64_t index = 0;
        for (const std::int64_t time_ms : positions(one.at("times_ms"))) {
            Captured frame;
            frame.index = index++;
            if (live || by == "captured") frame.captured_ns = time_ms * 1'000'000;
            if (by == "media") frame.media_ns = time_ms * 1'000'000;
            const char *cause = pace.leaves_out(frame, fps, live);
            if (cause == nullptr) kept.push_back(frame.index);
            CHECK(cause == nullptr || std::string(cause) == "interval");
        }
        CHECK_WITH(kept == positions(one.at("kept")), by);
    }
}

TEST(rates_are_kept_as_the_golden_says) {
    const auto golden = json::parse(read_text(GOLDEN_DIR "/pace.json"));
    CHECK(golden.at("rates").array().size() > 3);
    for (const auto &one : golden.at("rates").array()) {
        RateLimit limit(one.at("rate_limit_fps").number());
        std::vector<std::int64_t> kept;
        std::int64_t index = 0;
        for (const std::int64_t time_ms : positions(one.at("times_ms"))) {
            if (!limit.leaves_out(time_ms * 1'000'000)) kept.push_back(index);
            ++index;
        }
        CHECK(kept == positions(one.at("kept")));
    }
}

TEST(all_frames_without_an_interval) {
    Pace pace(std::nullopt, std::nullopt);
    CHECK(pace.leaves_out(Captured{}, 25.0, false) == nullptr);
    CHECK(pace.leaves_out(Captured{}, 25.0, false) == nullptr);
}

TEST(of_many_messages_the_newest_are_kept_and_all_are_counted) {
    edgeproof::app::Newest failed;
    const auto many = static_cast<int>(edgeproof::spec::max_skipped_kept) + 5;
    for (int i = 0; i < many; ++i) failed.add(std::to_string(i));
    CHECK(failed.count() == many);
    CHECK(failed.end() - failed.begin() == edgeproof::spec::max_skipped_kept);
    CHECK(*failed.begin() == "5");
}
