#pragma once

#include <array>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "edgeproof/bundle.h"
#include "edgeproof/postprocess.h"
#include "edgeproof/preprocess.h"
#include "engines/base.h"
#include "media/media.h"
#include "sources/base.h"

namespace edgeproof::app {

/// Stages of a frame's way, in order; the last two span the others.
constexpr std::array<const char *, 7> stage_names = {"capture",     "decode",     "preprocess", "inference",
                                                     "postprocess", "end_to_end", "frame_age"};
constexpr std::size_t inference = 3;
constexpr std::size_t end_to_end = 5;

/// What the task reconstruct says of a frame; a score that is no number is never good.
struct Anomaly {
    float score;
    double threshold;
    bool defect() const { return !(static_cast<double>(score) <= threshold); }
};

/// What the model says of one frame, and how long each stage took.
struct Decision {
    std::string label;               ///< a class, or "good" or "defect"
    std::vector<Scored> top;         ///< of the task classify: the first five classes
    std::optional<Anomaly> anomaly;  ///< of the task reconstruct
    std::array<double, stage_names.size()> stages_ms{};

    /// Of the label, 0..1; nothing of the task reconstruct.
    std::optional<double> probability() const;
    /// Label and figure for people.
    std::string headline() const;
};

/// Takes frames through preprocessing, engine and head.
class Decider {
  public:
    Decider(const Bundle &bundle, Engine &engine);

    /// Throws `Error` (kind frame) on a frame that the contract cannot be applied to, `Failure` where the engine fails.
    Decision operator()(const Captured &frame);

    /// Of the frame that was decided last: one probability per class (task classify).
    const std::vector<float> &probabilities() const { return probabilities_; }
    /// Of the frame that was decided last, until the next: where it is unlike a good one (task reconstruct).
    std::optional<HeatMap> heat_map(const Captured &frame) const;

  private:
    const Bundle &bundle_;
    Engine &engine_;
    Preprocessor preprocess_;
    std::vector<float> probabilities_;
};

}  // namespace edgeproof::app
