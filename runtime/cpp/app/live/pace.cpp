#include "live/pace.h"

#include "edgeproof/error.h"
#include "sources/picture.h"

namespace edgeproof::app {
namespace {

constexpr double after_motion_s = 2.0;  // what moved may stop in view
constexpr double idle_s = 10.0;

double time_s(const Captured &frame, std::optional<double> fps, bool live) {
    if (!live && frame.media_ns) return static_cast<double>(*frame.media_ns) / 1e9;
    if (!live && fps) return static_cast<double>(frame.index) / *fps;
    return static_cast<double>(frame.captured_ns) / 1e9;
}

bool moved(MotionGate &gate, const Captured &frame) {
    try {
        return gate.moved(view_of(frame.image));
    } catch (const Error &) {
        return true;  // of a format that cannot be measured
    }
}

}  // namespace

Pace::Pace(std::optional<double> every_s, std::optional<double> on_motion)
    : every_s_(!every_s && on_motion ? idle_s : every_s),
      gate_(on_motion ? std::make_unique<MotionGate>(*on_motion) : nullptr) {}

const char *Pace::leaves_out(const Captured &frame, std::optional<double> fps, bool live) {
    if (!every_s_) return nullptr;
    const double at_s = time_s(frame, fps, live);
    if (gate_ && moved(*gate_, frame)) moving_until_s_ = at_s + after_motion_s;
    const bool moving = moving_until_s_ && at_s < *moving_until_s_;
    if (!moving && due_s_ && at_s < *due_s_) return gate_ ? "no motion" : "interval";
    due_s_ = at_s + *every_s_;
    return nullptr;
}

}  // namespace edgeproof::app
