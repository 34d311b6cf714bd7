#pragma once

#include <string>
#include <vector>

#include "edgeproof/bundle.h"
#include "engines/base.h"

namespace edgeproof::app {

/// One measured quantity and its bounds; without any it only informs.
struct Measured {
    std::string name;
    double value = 0.0;
    std::optional<double> at_least;
    std::optional<double> at_most;
    bool passed() const;  ///< NaN passes no bound
};

/// A measurement against its bounds; the same fields as `edgeproof_runtime.metrics.gate.Gate`.
struct Gate {
    std::string name;
    std::string what;
    std::vector<Measured> measured;
    bool passed() const;
};

/// Replay the golden cases: preprocessing bit for bit, labels, and the engine's outputs within the bounds of
/// `edgeproof_runtime.metrics.parity`. Throws `Failure` (bad input) where the bundle has no cases or they cannot be
/// read.
std::vector<Gate> verify(const Bundle &bundle, const std::string &precision, Engine &engine);

}  // namespace edgeproof::app
