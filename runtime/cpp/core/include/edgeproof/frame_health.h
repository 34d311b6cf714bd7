#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "edgeproof/frame.h"
#include "edgeproof/spec.h"

namespace edgeproof {

/// What a frame looks like. Luma is in grey levels, 0..255. A cell is a 180th of the frame's shorter side.
struct FrameMeasures {
    double mean = 0.0;       ///< mean luma of the sampled rows
    double brightest = 0.0;  ///< luma of the brightest sampled cell; of a dark or plain frame, of its brightest block
    double saturated = 0.0;  ///< share of sampled cells at 250 or above
    double structure = 0.0;  ///< 99th percentile of luma differences over eight cells
    double sharpness = 0.0;  ///< the same over one cell, divided by `structure`; 0 without structure
    std::optional<double> sharpest;  ///< largest step over one block, divided by that over eight; only of a soft frame
    std::optional<double> step;  ///< largest luma difference of neighbouring blocks; only of a dark or plain frame
};

/// Measure 72 sampled rows of a frame. Nothing where the frame is not uint8 of one or three channels, or has a side
/// below 16 pixels.
std::optional<FrameMeasures> measure_frame(const Frame &frame);

/// When a frame counts as unhealthy, and what becomes of it.
struct HealthSettings {
    bool damaged = true;               ///< whether the decoder's complaints count
    std::int64_t frozen = 0;           ///< frames that equal the first of them; 0: off
    double change = 0.0;               ///< mean luma difference up to which two frames are equal
    double black = 0.0;                ///< `brightest` below this; 0: off
    double covered = 0.0;              ///< `structure` below this, and no step above 24; 0: off
    double overexposed = 0.0;          ///< `saturated` above this; 1: off
    double blurred = 0.0;              ///< `sharpness` below this, and `sharpest` below 0.3; 0: off
    unsigned classify = 0;             ///< bit per `FrameHealth`: frames that are classified all the same

    /// The defaults of spec.json.
    HealthSettings();

    bool classifies(FrameHealth found) const { return (classify >> static_cast<unsigned>(found) & 1U) != 0; }
};

/// Parse `off`, or `NAME=LIMIT` separated by commas, where a limit may be `off`; empty is the defaults. `classify` is
/// `all`, or names separated by commas. Throws `Error` (kind json: bad input).
HealthSettings parse_health(const std::string &limits, const std::string &classify);

/// Judges the frames of one stream in their order. Not thread-safe.
class HealthMonitor {
  public:
    explicit HealthMonitor(const HealthSettings &settings);
    ~HealthMonitor();
    HealthMonitor(HealthMonitor &&) noexcept;
    HealthMonitor &operator=(HealthMonitor &&) noexcept;

    /// What is wrong with the next frame, the first of the order of `FrameHealth`; nothing for a healthy one.
    /// `damaged`: whether its decoder complained. Frames with a side below 96 pixels are damaged or frozen at most.
    std::optional<FrameHealth> look(const Frame &frame, bool damaged);

    const HealthSettings &settings() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Finds motion: what differs between a frame and the last one with motion. Not thread-safe.
class MotionGate {
  public:
    /// `share` of the sampled runs of four cells whose mean luma changed by more than 12 grey levels.
    explicit MotionGate(double share);
    ~MotionGate();

    /// Whether so much of the frame changed. True of the first frame, and of frames that cannot be measured.
    bool moved(const Frame &frame);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace edgeproof
