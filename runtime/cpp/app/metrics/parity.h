#pragma once

#include <string>
#include <vector>

#include "metrics/gate.h"

namespace edgeproof::app {

/// An output's values for one golden case: the bundle's and an engine's.
struct Answer {
    std::vector<double> reference;
    std::vector<double> answer;
};

/// Compare outputs with references within the bounds of a precision: the quantities of
/// `edgeproof_runtime.metrics.parity.ParityMeter`, their names after `prefix`. `ranked`: the values are scores of
/// classes, so that the top-1 prediction counts. Throws `Failure` (bad input) on an unknown precision.
std::vector<Measured> parity(const std::vector<Answer> &answers, const std::string &precision,
                             const std::string &prefix, bool ranked);

}  // namespace edgeproof::app
