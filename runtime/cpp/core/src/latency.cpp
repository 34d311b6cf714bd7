#include "edgeproof/latency.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace edgeproof {
namespace {

/// Of ascending values, at least one.
double quantile(const std::vector<double> &ascending, double p) {
    const double position = static_cast<double>(ascending.size() - 1) * p;
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, ascending.size() - 1);
    const double part = position - static_cast<double>(below);
    const double step = ascending[above] - ascending[below];
    // From the nearer end, as NumPy does, so that rounding never passes it.
    return part < 0.5 ? ascending[below] + step * part : ascending[above] - step * (1 - part);
}

}  // namespace

std::size_t samples_needed(double p) {
    if (!(p > 0.0 && p < 1.0)) throw std::invalid_argument("a quantile is asked for as 0 < p < 1");
    return static_cast<std::size_t>(std::ceil(std::log(1 - spec::percentile_confidence) / std::log(p)));
}

Percentiles percentiles_of(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    Percentiles found;
    for (std::size_t i = 0; i < found.size(); ++i) {
        const auto [name, p] = spec::percentiles[i];
        const std::size_t needed = samples_needed(p);
        found[i].name = name;
        if (values.empty()) {
            found[i].unsupported = "nothing was measured";
        } else if (values.size() < needed) {
            found[i].unsupported = std::to_string(values.size()) + " frame" + (values.size() > 1 ? "s" : "") +
                                   " measured, " + std::string(name) + " needs " + std::to_string(needed);
        } else {
            found[i].value = quantile(values, p);
        }
    }
    return found;
}

LatencyRecorder::LatencyRecorder(std::size_t capacity) : capacity_(capacity) {
    if (capacity == 0) throw std::invalid_argument("a latency recorder keeps at least one value");
    values_.resize(capacity);  // its pages are touched now: a record that grows would show as a leak
    values_.clear();
}

void LatencyRecorder::add(double ms) {
    ++count_;
    total_ms_ += ms;
    max_ms_ = std::max(max_ms_, ms);
    if (values_.size() < capacity_) {
        values_.push_back(ms);
        return;
    }
    // Algorithm R (Vitter 1985): every value so far is kept with the same probability.
    const std::uint64_t slot = std::uniform_int_distribution<std::uint64_t>(0, count_ - 1)(random_);
    if (slot < capacity_) values_[slot] = ms;
}

LatencySummary LatencyRecorder::summary() const {
    LatencySummary summary;
    summary.percentiles_ms = percentiles_of(values_);
    if (count_ == 0) return summary;
    summary.count = count_;
    summary.mean_ms = total_ms_ / static_cast<double>(count_);
    summary.max_ms = max_ms_;
    summary.sampled = values_.size();
    return summary;
}

LatencyDistribution distribution_of(std::vector<double> ascending, std::size_t points) {
    std::sort(ascending.begin(), ascending.end());
    const std::size_t size = ascending.size();
    LatencyDistribution found;
    const auto keep = [&](std::size_t index) {
        found.ms.push_back(ascending[index]);
        found.share.push_back(static_cast<double>(index + 1) / static_cast<double>(size));
    };
    const std::size_t tail = size <= points ? size : points / 4;
    const std::size_t body = size <= points ? 0 : points - tail;
    const double step = body > 1 ? static_cast<double>(size - tail - 1) / static_cast<double>(body - 1) : 0.0;
    for (std::size_t i = 0; i < body; ++i)
        keep(static_cast<std::size_t>(std::nearbyint(step * static_cast<double>(i))));
    for (std::size_t i = size - tail; i < size; ++i) keep(i);
    return found;
}

}  // namespace edgeproof
