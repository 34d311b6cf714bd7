#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "edgeproof/bundle.h"
#include "metrics/accuracy.h"
#include "metrics/auroc.h"
#include "tasks/decision.h"

namespace edgeproof::app {

/// Decisions about labelled frames held against their labels, as `edgeproof_runtime.verify.judge` does it.
class Judge {
  public:
    /// Throws `Failure` (bad input) where the bundle's class ids cannot be read.
    explicit Judge(const Bundle &bundle);

    /// Take one frame that shows `truth`: a label or class id of the bundle, or several with "|"; of the task
    /// reconstruct "good" or any other name. Returns the truth as the model would call it.
    /// Throws `Failure` (bad input) where the model has no such label.
    std::string add(const Decision &decision, const std::vector<float> &probabilities, const std::string &truth,
                    const std::string &frame);

    /// Of the task classify, once a frame was labelled.
    const AccuracyMeter *accuracy() const { return accuracy_ && accuracy_->n() > 0 ? &*accuracy_ : nullptr; }
    /// Of the task reconstruct, once a frame was labelled.
    const AnomalyMeter *anomaly() const { return anomaly_ && anomaly_->n() > 0 ? &*anomaly_ : nullptr; }

  private:
    std::string add_class(const std::vector<float> &probabilities, const std::string &truth, const std::string &frame);

    const Bundle &bundle_;
    std::multimap<std::string, std::size_t> classes_;
    std::optional<AccuracyMeter> accuracy_;
    std::optional<AnomalyMeter> anomaly_;
};

}  // namespace edgeproof::app
