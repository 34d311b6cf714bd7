#include "live/timeline.h"

#include <algorithm>
#include <string>

#include "json_text.h"

namespace edgeproof::app {
void Timeline::Point::merge(const Point &other) {
    // The slower frame's time and latency, the worse state.
    if (other.end_to_end_ms && (!end_to_end_ms || *other.end_to_end_ms > *end_to_end_ms)) {
        time_s = other.time_s;
        end_to_end_ms = other.end_to_end_ms;
    }
    state = std::max(state, other.state);
    frames += other.frames;
}

void Timeline::add(double time_s, std::optional<double> end_to_end_ms, FrameState state) {
    const Point point{time_s, end_to_end_ms, state};
    if (!points_.empty() && points_.back().frames < frames_per_point_) {
        points_.back().merge(point);
        return;
    }
    points_.push_back(point);
    if (points_.size() > max_points_) halve();
}

void Timeline::halve() {
    std::vector<Point> merged;
    for (std::size_t i = 0; i < points_.size(); i += 2) {
        merged.push_back(points_[i]);
        if (i + 1 < points_.size()) merged.back().merge(points_[i + 1]);
    }
    points_ = std::move(merged);
    frames_per_point_ *= 2;
}

json::Value Timeline::to_json() const {
    json::Array times;
    json::Array latencies;
    json::Array states;
    json::Array frames;
    for (const Point &point : points_) {
        times.push_back(number(point.time_s));
        latencies.push_back(point.end_to_end_ms ? number(*point.end_to_end_ms) : json::Value{});
        states.push_back({std::string(name_of(frame_state_names, point.state))});
        frames.push_back(integer(static_cast<double>(point.frames)));
    }
    return {json::Object{{"frames_per_point", integer(static_cast<double>(frames_per_point_))},
                         {"time_s", {times}},
                         {"end_to_end_ms", {latencies}},
                         {"state", {states}},
                         {"frames", {frames}}}};
}

}  // namespace edgeproof::app
