#include "live/health.h"

#include "edgeproof/error.h"
#include "sources/picture.h"
#include "system/terminal.h"

namespace edgeproof::app {
namespace {

constexpr std::int64_t told_after_ns = 1'000'000'000;  // a single frame of motion blur is no state of a stream

}  // namespace

StreamHealth::StreamHealth(const HealthSettings &limits, const std::string &classify, const Source &source)
    : monitor_(limits), judged_(!source.of_pictures), name_(source.name) {
    record_.limits = limits;
    record_.classify = classify;
    record_.judged = judged_;
}

std::optional<FrameHealth> StreamHealth::look(const Captured &frame) {
    if (!judged_) return std::nullopt;
    try {
        return monitor_.look(view_of(frame.image), !frame.damage.empty());
    } catch (const Error &) {
        return std::nullopt;  // of a format that the worker refuses
    }
}

bool StreamHealth::leaves_out(std::optional<FrameHealth> found) const {
    return found && !monitor_.settings().classifies(*found);
}

void StreamHealth::count(std::optional<FrameHealth> found) {
    const std::int64_t now = now_ns();
    if (found != record_.found) {
        record_.found = found;
        record_.since_ns = now;
    }
    if (record_.found != told_ && now - record_.since_ns >= told_after_ns) tell(now);
    if (found) ++(leaves_out(found) ? record_.left_out : record_.classified)[static_cast<std::size_t>(*found)];
}

void StreamHealth::tell(std::int64_t now) {
    told_ = record_.found;
    const std::string reason =
        told_ ? std::string(name_of(frame_health_names, *told_)) + " frames" : "healthy frames again";
    record_.changes.push_back({now, reason});
    note("%s: %s\n", name_.c_str(), reason.c_str());
}

}  // namespace edgeproof::app
