#pragma once

#include <optional>
#include <string>
#include <vector>

namespace edgeproof::app {

/// One measured quantity and its bounds; without bounds it is for information.
struct Measured {
    std::string name;
    double value = 0.0;
    std::optional<double> at_least;
    std::optional<double> at_most;
    bool passed() const;  ///< NaN passes no bound
};

/// A measurement and its bounds; the same fields as `edgeproof_runtime.metrics.gate.Gate`.
struct Gate {
    std::string name;
    std::string what;
    std::vector<Measured> measured;
    bool passed() const;
};

}  // namespace edgeproof::app
