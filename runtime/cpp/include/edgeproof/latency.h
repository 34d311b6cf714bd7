#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace edgeproof {

/// Fewest samples that support percentile `p` (0 < p < 1): with so many, the largest sample passes the true
/// percentile with 95 % confidence, n >= ln(0.05) / ln(p) (Wilks, 1941). 5 for p50, 29 for p90, 299 for p99.
std::size_t samples_needed(double p);

/// Percentile of sorted samples, interpolated linearly between closest ranks (NumPy's default); nothing where there
/// are fewer than `samples_needed(p)` samples.
std::optional<double> percentile(const std::vector<double> &sorted, double p);

/// Statistics of the samples that a recorder holds; `mean` and `max` are 0 where there are none.
struct LatencySummary {
    std::size_t count = 0;
    double mean = 0.0;
    std::optional<double> p50;
    std::optional<double> p90;
    std::optional<double> p99;
    double max = 0.0;
};

/// Holds the most recent `capacity` samples in memory taken once. Unit of the samples is the caller's, ms by custom.
class LatencyRecorder {
  public:
    /// Throws std::invalid_argument for capacity 0.
    explicit LatencyRecorder(std::size_t capacity = 100'000);

    void record(double sample);
    /// Samples recorded since the start, those no longer held included.
    std::uint64_t total() const { return total_; }
    LatencySummary summary() const;

  private:
    std::vector<double> samples_;
    std::size_t capacity_;
    std::uint64_t total_ = 0;
};

}  // namespace edgeproof
