#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "edgeproof/bundle.h"
#include "edgeproof/preprocess.h"
#include "edgeproof/spec.h"
#include "engines/base.h"
#include "sources/base.h"
#include "tasks/record.h"

namespace edgeproof::app {

/// A decision about one frame, and how long each stage took.
struct Decided {
    std::unique_ptr<Decision> decision;  ///< valid until the next frame
    std::array<double, stage_names.size()> stages_ms{};  ///< in the order of `Stage`; the last two span the others
};

/// Takes frames through preprocessing, engine and head.
class Worker {
  public:
    /// Throws `Failure` (bad input) where the bundle's task takes no frames, or has no unknown ones.
    Worker(const Bundle &bundle, Engine &engine, const std::optional<UnknownRule> &unknown = std::nullopt);

    /// Throws `Error` (kind frame) on a frame that the contract cannot be applied to, `Failure` where the engine fails.
    Decided operator()(const Captured &frame);

    /// All decisions so far in one line for people; empty where the task counts nothing.
    std::string totals() const { return head_->totals(); }

  private:
    std::unique_ptr<Head> head_;
    Engine &engine_;
    Preprocessor preprocess_;
};

}  // namespace edgeproof::app
