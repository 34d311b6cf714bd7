#include "live/health.h"

#include <numeric>

#include "edgeproof/error.h"
#include "sources/picture.h"
#include "system/terminal.h"

namespace edgeproof::app {
namespace {

constexpr std::int64_t told_after_ns = 1'000'000'000;  // a single frame of motion blur is no state of a stream

}  // namespace

std::int64_t HealthRecord::frames_left_out() const {
    return std::accumulate(left_out.begin(), left_out.end(), std::int64_t{0});
}

StreamHealth::StreamHealth(const HealthSettings &limits, const std::string &classify, const Source &source)
    : monitor_(limits), name_(source.name) {
    record_.limits = limits;
    record_.classify = classify;
    record_.judged = !source.of_pictures;
}

bool StreamHealth::leaves_out(Captured &frame) {
    const bool damaged = !frame.damage.empty();
    std::optional<FrameHealth> found;
    if (frame.image.empty()) {
        found = FrameHealth::damaged;
    } else if (record_.judged) {
        try {
            found = monitor_.look(view_of(frame.image), damaged);
        } catch (const Error &) {
            found = std::nullopt;  // of a format that the worker refuses
        }
    }
    const std::int64_t now = now_ns();
    if (found != record_.found) {
        record_.found = found;
        record_.since_ns = now;
    }
    if (record_.found != told_ && now - record_.since_ns >= told_after_ns) tell(now);
    if (!found) return false;
    const auto cause = static_cast<std::size_t>(*found);
    const bool leaves_out = frame.image.empty() || !record_.limits.classifies(*found);
    ++(leaves_out ? record_.left_out : record_.classified)[cause];
    frame.health = found;
    return leaves_out;
}

void StreamHealth::tell(std::int64_t now) {
    told_ = record_.found;
    const std::string reason =
        told_ ? std::string(name_of(frame_health_names, *told_)) + " frames" : "healthy frames again";
    record_.changes.push_back({now, reason});
    note("%s: %s\n", name_.c_str(), reason.c_str());
}

}  // namespace edgeproof::app
