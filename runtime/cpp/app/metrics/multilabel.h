#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "edgeproof/json.h"

namespace edgeproof::app {

/// Multi-label metrics of labelled frames; the same definitions as `edgeproof_runtime.metrics.multilabel`.
/// Average precision needs the order of all scores, so it keeps 5 bytes per frame and class.
class MultilabelMeter {
  public:
    /// `thresholds`: of each class, 0..1.
    explicit MultilabelMeter(std::vector<double> thresholds) : thresholds_(std::move(thresholds)) {}

    /// Count one frame: probability of each class, and indices of the classes that it shows.
    /// Throws `Failure` (bad input) where a probability is NaN.
    void add(const std::vector<float> &probabilities, const std::vector<std::size_t> &shown);

    /// The report's section "multilabel"; `labels` are one per class, or none at all. Of at least one frame.
    json::Value to_json(const std::vector<std::string> &labels) const;

  private:
    std::vector<double> thresholds_;
    std::size_t n_ = 0;
    std::vector<float> scores_;         ///< frames x classes
    std::vector<std::uint8_t> shown_;  ///< frames x classes
};

}  // namespace edgeproof::app
