#pragma once

#include <memory>
#include <optional>

#include "edgeproof/frame_health.h"
#include "sources/base.h"

namespace edgeproof::app {

/// Chooses the frames of one stream: all, one at an interval, or those with motion; `edgeproof_runtime.live.pace`.
/// tests/golden/pace.json holds both. Not thread-safe.
class Pace {
  public:
    /// `every_s`: seconds between classified frames; with `on_motion`, between those without motion (default 10).
    /// `on_motion`: share of the frame that must change.
    Pace(std::optional<double> every_s, std::optional<double> on_motion);

    /// Why a frame is left out; null for one to be classified. The time of a file's frames is that of the recording.
    const char *leaves_out(const Captured &frame, std::optional<double> fps, bool live);

  private:
    std::optional<double> every_s_;
    std::unique_ptr<MotionGate> gate_;
    std::optional<double> due_s_;
    std::optional<double> moving_until_s_;
};

}  // namespace edgeproof::app
