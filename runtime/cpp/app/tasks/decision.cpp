#include "tasks/decision.h"

#include <algorithm>
#include <cstdio>

#include "edgeproof/geometry.h"
#include "sources/picture.h"

namespace edgeproof::app {
namespace {

constexpr std::size_t classes_listed = 5;

double ms_between(std::int64_t begin_ns, std::int64_t end_ns) { return static_cast<double>(end_ns - begin_ns) / 1e6; }

/// First frame pixel and number of frame pixels that the tensor shows along an axis; beyond the frame where it is
/// padded.
std::pair<double, double> span(const Axis &axis, int tensor_side) {
    const double scale = static_cast<double>(axis.box) / static_cast<double>(axis.resized);
    const auto offset = static_cast<double>(axis.keep_start - axis.pad_start);
    return {static_cast<double>(axis.box_start) + offset * scale, tensor_side * scale};
}

}  // namespace

std::optional<double> Decision::probability() const {
    if (anomaly) return std::nullopt;
    return static_cast<double>(top.front().score);
}

std::string Decision::headline() const {
    char figure[64];
    if (anomaly) {
        std::snprintf(figure, sizeof figure, " %.3g (limit %.3g)", static_cast<double>(anomaly->score),
                      anomaly->threshold);
    } else {
        std::snprintf(figure, sizeof figure, " %.0f%%", 100.0 * *probability());
    }
    return label + figure;
}

Decider::Decider(const Bundle &bundle, Engine &engine)
    : bundle_(bundle), engine_(engine), preprocess_(bundle.contract), probabilities_(bundle.output_size()) {}

Decision Decider::operator()(const Captured &frame) {
    const std::int64_t begin = now_ns();
    preprocess_(view_of(frame.image), engine_.input());
    const std::int64_t prepared = now_ns();
    engine_.run();
    const std::int64_t inferred = now_ns();
    Decision decision;
    if (bundle_.anomaly_threshold) {
        decision.anomaly = Anomaly{*engine_.output(2), *bundle_.anomaly_threshold};  // after picture and heat map
        decision.label = decision.anomaly->defect() ? "defect" : "good";
    } else {
        std::copy_n(engine_.output(0), probabilities_.size(), probabilities_.begin());
        if (bundle_.outputs.front().activation == "none") softmax(probabilities_.data(), probabilities_.size());
        decision.top = top_k(probabilities_.data(), probabilities_.size(), classes_listed);
        decision.label = bundle_.label_of(decision.top.front().index);
    }
    const std::int64_t end = now_ns();
    const double age_ms = ms_between(frame.captured_ns, end);
    decision.stages_ms = {frame.capture_ms,
                          frame.decode_ms,
                          ms_between(begin, prepared),
                          ms_between(prepared, inferred),
                          ms_between(inferred, end),
                          age_ms + frame.capture_ms,
                          age_ms};
    return decision;
}

std::optional<HeatMap> Decider::heat_map(const Captured &frame) const {
    if (!bundle_.anomaly_threshold) return std::nullopt;
    const Geometry geometry = plan(bundle_.contract, frame.image.rows, frame.image.cols);
    const Size tensor = bundle_.contract.tensor_size();
    const std::vector<std::int64_t> &shape = bundle_.outputs[1].shape;
    HeatMap map{engine_.output(1), static_cast<int>(shape[0]), static_cast<int>(shape[1]), *bundle_.anomaly_threshold};
    std::tie(map.top, map.height) = span(geometry.y, tensor.height);
    std::tie(map.left, map.width) = span(geometry.x, tensor.width);
    return map;
}

}  // namespace edgeproof::app
