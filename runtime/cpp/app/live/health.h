#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "edgeproof/frame_health.h"
#include "edgeproof/spec.h"
#include "sources/base.h"

namespace edgeproof::app {

using FramesByCause = std::array<std::int64_t, frame_health_names.size()>;

/// What was found of a stream's frames. Times are of the steady clock, nanoseconds.
struct HealthRecord {
    struct Change {
        std::int64_t at_ns;
        std::string reason;
    };
    HealthSettings limits;
    std::string classify;       ///< the option's text
    bool judged = true;         ///< not of image files
    FramesByCause left_out{};
    FramesByCause classified{};  ///< unhealthy, and classified all the same
    std::optional<FrameHealth> found;  ///< of the newest frame
    std::int64_t since_ns = 0;
    std::vector<Change> changes;  ///< that lasted for a second
};

/// Judges the frames of one stream in their order; as `edgeproof_runtime.live.stream_health`. Not thread-safe, but for
/// `look` and `leaves_out`, of one thread at a time.
class StreamHealth {
  public:
    StreamHealth(const HealthSettings &limits, const std::string &classify, const Source &source);

    /// What is wrong with the next frame.
    std::optional<FrameHealth> look(const Captured &frame);

    /// Whether a frame is to be left out for what `look` found.
    bool leaves_out(std::optional<FrameHealth> found) const;

    /// Count what `look` found.
    void count(std::optional<FrameHealth> found);

    const HealthRecord &record() const { return record_; }

  private:
    void tell(std::int64_t now);

    HealthMonitor monitor_;
    bool judged_;
    HealthRecord record_;
    std::string name_;
    std::optional<FrameHealth> told_;
};

}  // namespace edgeproof::app
