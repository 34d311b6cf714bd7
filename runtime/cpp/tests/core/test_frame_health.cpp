#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "check.h"
#include "core/npy.h"
#include "edgeproof/error.h"
#include "edgeproof/frame_health.h"
#include "edgeproof/json.h"

using namespace edgeproof;

namespace {

struct Drawn {
    std::int64_t width;
    std::int64_t height;
    std::vector<std::uint8_t> pixels;

    Frame frame() const { return Frame::packed(pixels.data(), height, width, 3); }
};

/// As `tests/reference/drawn.py` draws it.
Drawn drawn(const json::Value &spec) {
    Drawn image{spec.at("width").integer(), spec.at("height").integer(), {}};
    const std::int64_t base = spec.at("base").integer(), amplitude = spec.at("amplitude").integer();
    const std::int64_t period = spec.at("period").integer(), most = spec.at("noise").integer();
    for (std::int64_t y = 0; y < image.height; ++y) {
        for (std::int64_t x = 0; x < image.width; ++x) {
            const std::int64_t pattern = spec.at("ramp").boolean()
                                             ? std::abs((x + y) % (2 * period) - period) * amplitude / period
                                             : (x / period + y / period) % 2 * amplitude;
            for (std::int64_t channel = 0; channel < 3; ++channel) {
                auto mixed = static_cast<std::uint32_t>(x * 73856093 ^ y * 19349663 ^ channel * 83492791);
                mixed = (mixed ^ mixed >> 13) * 1274126177U;
                const std::int64_t noise = static_cast<std::int64_t>(mixed >> 8) % (2 * most + 1) - most;
                image.pixels.push_back(
                    static_cast<std::uint8_t>(std::clamp<std::int64_t>(base + pattern + noise, 0, 255)));
            }
        }
    }
    for (const auto &light : spec.at("lights").array()) {
        const std::int64_t left = light.array()[0].integer(), top = light.array()[1].integer();
        const std::int64_t side = light.array()[2].integer();
        for (std::int64_t y = top; y < top + side; ++y)
            for (std::int64_t i = 3 * left; i < 3 * (left + side); ++i)
                image.pixels[static_cast<std::size_t>(y * 3 * image.width + i)] = 250;
    }
    return image;
}

bool is(const json::Value &golden, std::optional<double> value) {
    if (golden.is_null() || !value) return golden.is_null() && !value;
    return std::abs(golden.number() - *value) < 1e-9;
}

Drawn plain(std::uint8_t luma) { return {160, 120, std::vector<std::uint8_t>(160 * 120 * 3, luma)}; }

std::string refused(const std::string &limits, const std::string &classify) {
    try {
        parse_health(limits, classify);
    } catch (const Error &error) {
        return error.problem;
    }
    return {};
}

}  // namespace

TEST(frames_measure_what_the_golden_cases_say) {
    const auto cases = json::parse(read_text(GOLDEN_DIR "/frame_health.json"));
    CHECK(cases.array().size() > 10);
    for (const auto &golden : cases.array()) {
        const std::string &what = golden.at("what").string();
        const Drawn image = drawn(golden);
        const auto found = measure_frame(image.frame());
        CHECK_WITH(found.has_value(), what);
        const json::Value &measures = golden.at("measures");
        CHECK_WITH(is(measures.at("mean"), found->mean), what);
        CHECK_WITH(is(measures.at("brightest"), found->brightest), what);
        CHECK_WITH(is(measures.at("saturated"), found->saturated), what);
        CHECK_WITH(is(measures.at("structure"), found->structure), what);
        CHECK_WITH(is(measures.at("sharpness"), found->sharpness), what);
        CHECK_WITH(is(measures.at("sharpest"), found->sharpest), what);
        CHECK_WITH(is(measures.at("step"), found->step), what);
        HealthMonitor monitor((HealthSettings()));
        const auto health = monitor.look(image.frame(), false);
        const json::Value &expected = golden.at("health");
        CHECK_WITH(expected.is_null() ? !health : health && name_of(frame_health_names, *health) == expected.string(),
                   what);
    }
}

TEST(a_frozen_stream_is_found_after_so_many_equal_frames) {
    HealthMonitor monitor(parse_health("frozen=5,black=off,covered=off,change=0", ""));
    const Drawn still = plain(100), other = plain(101);
    for (int i = 0; i < 4; ++i) CHECK(!monitor.look(still.frame(), false));
    CHECK(monitor.look(still.frame(), false) == FrameHealth::frozen);
    CHECK(monitor.look(still.frame(), true) == FrameHealth::damaged);
    CHECK(!monitor.look(other.frame(), false));
    CHECK(!monitor.look(still.frame(), false));
}

TEST(what_moves_between_the_sampled_rows_is_no_frozen_frame) {
    HealthMonitor monitor(parse_health("frozen=4,black=off,covered=off", ""));
    Drawn scene = plain(100);
    for (int i = 0; i < 40; ++i) {
        Drawn now = scene;
        const int x = 10 + i * 3;
        for (int y = 3; y < 5; ++y)
            for (int at = 3 * x; at < 3 * (x + 4); ++at) now.pixels[static_cast<std::size_t>(y * 480 + at)] = 255;
        CHECK(monitor.look(now.frame(), false) != FrameHealth::frozen);
    }
}

TEST(limits_are_parsed_and_checked) {
    const HealthSettings off = parse_health("off", "");
    CHECK(!off.damaged && off.frozen == 0 && off.black == 0 && off.covered == 0 && off.overexposed == 1);
    const HealthSettings some = parse_health("frozen=50, black=off,blurred=0.05", "frozen,blurred");
    CHECK(some.frozen == 50 && some.black == 0 && some.blurred == 0.05 && some.damaged);
    CHECK(some.classifies(FrameHealth::frozen) && some.classifies(FrameHealth::blurred));
    CHECK(!some.classifies(FrameHealth::black));
    CHECK(parse_health("", "all").classifies(FrameHealth::damaged));
    CHECK(refused("frozen=1", "") == "health: frozen is out of range");
    CHECK(refused("frozen=2.5", "") == "health: frozen is out of range");
    CHECK(refused("black=nan", "") == "health: black is out of range");
    CHECK(refused("black", "") == "health: black is out of range");
    CHECK(refused("damaged=maybe", "") == "health: damaged is invalid");
    CHECK(refused("dark=3", "") == "health: unknown setting");
    CHECK(refused("", "dark") == "classify-unhealthy: unknown cause");
}

TEST(motion_is_what_differs_from_the_last_frame_with_motion) {
    MotionGate gate(0.01);
    Drawn scene = plain(100);
    CHECK(gate.moved(scene.frame()));
    CHECK(!gate.moved(scene.frame()));
    for (int y = 40; y < 80; ++y)
        for (int i = 120; i < 240; ++i) scene.pixels[static_cast<std::size_t>(y * 480 + i)] = 200;
    CHECK(gate.moved(scene.frame()));
    CHECK(!gate.moved(scene.frame()));
    CHECK(!gate.moved(scene.frame()));
    const Drawn brighter = plain(104);
    MotionGate all(0.5);
    CHECK(all.moved(plain(100).frame()));
    CHECK(!all.moved(brighter.frame()));
}
