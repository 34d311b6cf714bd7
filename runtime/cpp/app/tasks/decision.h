#pragma once

#include <opencv2/core.hpp>
#include <optional>
#include <string>

#include "edgeproof/json.h"
#include "media/media.h"

namespace edgeproof::app {

/// The prediction that a task's head makes from the model's outputs for one frame; see
/// `edgeproof_runtime.tasks.decision.Decision`. Valid until the engine runs again.
class Decision {
  public:
    Decision() = default;
    Decision(const Decision &) = delete;
    Decision &operator=(const Decision &) = delete;
    virtual ~Decision() = default;

    /// The prediction in a word: a class, or "good" or "defect".
    virtual const std::string &label() const = 0;
    /// Probability of the label, 0..1; empty if the task has none.
    virtual std::optional<double> probability() const { return std::nullopt; }
    /// Whether a rule says that the frame shows none of the model's classes.
    virtual bool unknown() const { return false; }
    /// Label and figure for a status line.
    virtual std::string headline() const = 0;
    /// The prediction's keys of a JSON line.
    virtual json::Object to_json() const = 0;
    /// What a thumbnail shows over the frame (BGR or gray, uint8); empty: the frame as it is.
    virtual std::optional<HeatMap> heat_map(const cv::Mat &image) const {
        (void)image;
        return std::nullopt;
    }
};

}  // namespace edgeproof::app
