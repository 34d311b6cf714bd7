#include "edgeproof/latency.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace edgeproof {

std::size_t samples_needed(double p) {
    if (!(p > 0.0 && p < 1.0)) throw std::invalid_argument("a percentile is asked for as 0 < p < 1");
    return static_cast<std::size_t>(std::ceil(std::log(0.05) / std::log(p)));
}

std::optional<double> percentile(const std::vector<double> &sorted, double p) {
    if (sorted.size() < samples_needed(p)) return std::nullopt;
    const double position = p * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    const double part = position - static_cast<double>(below);
    return sorted[below] + (sorted[above] - sorted[below]) * part;
}

LatencyRecorder::LatencyRecorder(std::size_t capacity) : capacity_(capacity) {
    if (capacity == 0) throw std::invalid_argument("a latency recorder holds at least one sample");
    samples_.reserve(capacity);
}

void LatencyRecorder::record(double sample) {
    if (samples_.size() < capacity_)
        samples_.push_back(sample);
    else
        samples_[total_ % capacity_] = sample;
    ++total_;
}

LatencySummary LatencyRecorder::summary() const {
    LatencySummary summary;
    if (samples_.empty()) return summary;
    std::vector<double> sorted = samples_;
    std::sort(sorted.begin(), sorted.end());
    summary.count = sorted.size();
    summary.mean = std::accumulate(sorted.begin(), sorted.end(), 0.0) / static_cast<double>(sorted.size());
    summary.p50 = percentile(sorted, 0.50);
    summary.p90 = percentile(sorted, 0.90);
    summary.p99 = percentile(sorted, 0.99);
    summary.max = sorted.back();
    return summary;
}

}  // namespace edgeproof
