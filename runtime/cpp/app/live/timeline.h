#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "edgeproof/json.h"
#include "edgeproof/spec.h"

namespace edgeproof::app {

/// Frames in order, merged two by two whenever there are more points than fit; the same points as
/// `edgeproof_runtime.live.timeline.Timeline` makes of the same frames.
class Timeline {
  public:
    /// `max_points` is at least 2.
    explicit Timeline(std::size_t max_points = 2000) : max_points_(max_points) {}

    /// `time_s` since the run began; `end_to_end_ms` only of a frame that was classified.
    void add(double time_s, std::optional<double> end_to_end_ms, FrameState state);

    json::Value to_json() const;

  private:
    struct Point {
        double time_s;
        std::optional<double> end_to_end_ms;
        FrameState state;
        std::int64_t frames = 1;
        void merge(const Point &other);
    };
    void halve();

    std::size_t max_points_;
    std::vector<Point> points_;
    std::int64_t frames_per_point_ = 1;
};

}  // namespace edgeproof::app
