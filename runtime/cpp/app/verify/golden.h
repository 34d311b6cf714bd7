#pragma once

#include <string>
#include <vector>

#include "edgeproof/bundle.h"
#include "engines/base.h"
#include "metrics/gate.h"

namespace edgeproof::app {

/// Replay the golden cases: preprocessing bit for bit, labels, and the engine's outputs within the bounds of
/// `edgeproof_runtime.metrics.parity`. Throws `Failure` (bad input) if the bundle has no cases or they cannot be
/// read.
std::vector<Gate> verify(const Bundle &bundle, const std::string &precision, Engine &engine);

}  // namespace edgeproof::app
