#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

namespace edgeproof {

/// Smallest sample whose maximum lies above quantile `p` (0 < p < 1) with 95 % confidence: n >= ln(0.05) / ln(p)
/// (Wilks, 1941). 5 for p50, 29 for p90, 299 for p99.
std::size_t samples_needed(double p);

/// Quantile `p` of ascending values, interpolated linearly between order statistics (NumPy's default); nothing where
/// there are fewer than `samples_needed(p)`.
std::optional<double> quantile(const std::vector<double> &ascending, double p);

/// What is known about one stage's latency, in milliseconds; the same rules as `edgeproof_runtime.metrics.latency`.
struct LatencySummary {
    std::uint64_t count = 0;
    std::optional<double> mean_ms;  ///< nothing where nothing was measured
    std::optional<double> p50_ms;   ///< nothing where the sample does not support it
    std::optional<double> p90_ms;
    std::optional<double> p99_ms;
    std::optional<double> max_ms;
    std::size_t sampled = 0;  ///< values that the percentiles stand on
};

/// The empirical distribution, thinned for plotting; the slowest values are kept one by one.
struct LatencyDistribution {
    std::vector<double> ms;     ///< ascending
    std::vector<double> share;  ///< which share of all values is at most that
};

/// Latencies of one stage for runs of any length, in memory taken once. Past `capacity` values, count, mean and maximum
/// stay exact and the percentiles stand on a uniform random sample of that size.
class LatencyRecorder {
  public:
    /// Throws std::invalid_argument for capacity 0.
    explicit LatencyRecorder(std::size_t capacity = std::size_t{1} << 17);

    void add(double ms);
    LatencySummary summary() const;
    /// About `points` points, the same as `edgeproof_runtime.metrics.latency.distribution` keeps.
    LatencyDistribution distribution(std::size_t points = 200) const;

  private:
    std::vector<double> values_;
    std::size_t capacity_;
    std::uint64_t count_ = 0;
    double total_ms_ = 0.0;
    double max_ms_ = 0.0;
    std::mt19937_64 random_;
};

}  // namespace edgeproof
