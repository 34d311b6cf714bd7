#pragma once

#include <vector>

#include "engines/base.h"
#include "live/pipeline.h"
#include "verify/golden.h"

namespace edgeproof::app {

/// Every gate and what it measured, on stdout.
void print_gates(const std::vector<Gate> &gates);

/// What a run did, on stdout; what was left out, on stderr.
void print_summary(const PipelineResult &result, const EngineInfo &engine);

}  // namespace edgeproof::app
