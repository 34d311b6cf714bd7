#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "edgeproof/spec.h"

namespace edgeproof {

/// Smallest sample whose maximum lies above quantile `p` (0 < p < 1) with 95 % confidence. All n independent values lie
/// below the p-quantile with probability p^n, so n >= ln(0.05) / ln(p): S. S. Wilks, "Determination of sample sizes for
/// setting tolerance limits", Annals of Mathematical Statistics 12 (1941). 5 for p50, 29 for p90, 299 for p99.
/// Throws std::invalid_argument where `p` is not between 0 and 1.
std::size_t samples_needed(double p);

/// One percentile of `spec::percentiles`: a value, or why the sample does not support one.
struct Percentile {
    std::string_view name;
    std::optional<double> value;
    std::string unsupported;  ///< empty beside a value
};
using Percentiles = std::array<Percentile, spec::percentiles.size()>;

/// The percentiles of a sample, interpolated linearly between order statistics (NumPy's default, Hyndman and Fan's type
/// 7, bit for bit); each takes `samples_needed` values.
Percentiles percentiles_of(std::vector<double> values);

/// What is known about one stage's latency, in milliseconds; the same rules as `edgeproof_runtime.metrics.latency`.
struct LatencySummary {
    std::uint64_t count = 0;
    std::optional<double> mean_ms;  ///< nothing where nothing was measured
    Percentiles percentiles_ms;
    std::optional<double> max_ms;
    std::size_t sampled = 0;  ///< values that the percentiles stand on
};

/// The empirical distribution, thinned for plotting; the slowest values are kept one by one.
struct LatencyDistribution {
    std::vector<double> ms;     ///< ascending
    std::vector<double> share;  ///< which share of all values is at most that
};

/// Keep about `points` of the values.
LatencyDistribution distribution_of(std::vector<double> values, std::size_t points = 200);

/// Latencies of one stage for runs of any length, in memory taken once. Past `capacity` values, count, mean and maximum
/// stay exact and the percentiles stand on a uniform random sample of that size.
class LatencyRecorder {
  public:
    /// Throws std::invalid_argument for capacity 0.
    explicit LatencyRecorder(std::size_t capacity = std::size_t{1} << 17);

    void add(double ms);
    LatencySummary summary() const;
    LatencyDistribution distribution() const { return distribution_of(values_); }

  private:
    std::vector<double> values_;
    std::size_t capacity_;
    std::uint64_t count_ = 0;
    double total_ms_ = 0.0;
    double max_ms_ = 0.0;
    std::mt19937_64 random_;
};

}  // namespace edgeproof
