#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "edgeproof/json.h"

namespace edgeproof::app {

/// Accuracy on labelled frames; the same definitions as `edgeproof_runtime.metrics.accuracy`.
class AccuracyMeter {
  public:
    explicit AccuracyMeter(std::size_t classes) : classes_(classes) {}

    /// Count one frame. Throws `Failure` (bad input) if a score is NaN.
    void add(const std::vector<float> &scores, std::size_t target);

    std::int64_t n() const { return n_; }
    double top1() const { return static_cast<double>(right()) / static_cast<double>(n_); }
    /// Wilson's 95 % interval of `top1`.
    std::pair<double, double> ci95() const;
    /// The entry below a report's "accuracy"; `labels` are one per class, or empty. Requires at least one frame.
    json::Value to_json(const std::vector<std::string> &labels) const;

  private:
    std::int64_t right() const;

    std::size_t classes_;
    std::int64_t n_ = 0;
    std::int64_t top5_ = 0;
    std::map<std::pair<std::size_t, std::size_t>, std::int64_t> pairs_;  ///< (ground truth, prediction) -> frames
};

}  // namespace edgeproof::app
