#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "edgeproof/json.h"

namespace edgeproof::app {

/// How well anomaly scores tell defects from good frames; the same definitions as `edgeproof_runtime.metrics.auroc`.
class AnomalyMeter {
  public:
    explicit AnomalyMeter(double threshold) : threshold_(threshold) {}

    /// Count one frame; `kind` is "good" or the name of a defect. A NaN score counts as infinite.
    void add(const std::string &kind, double score);

    std::size_t n() const;
    /// The entry below a report's "anomaly".
    json::Value to_json() const;

  private:
    double above(const std::vector<double> &scores) const;

    double threshold_;
    std::map<std::string, std::vector<double>> scores_;
};

}  // namespace edgeproof::app
