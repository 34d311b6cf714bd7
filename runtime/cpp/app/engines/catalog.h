#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engines/base.h"

namespace edgeproof::app {

/// Load a model on an engine, by name, or with "auto" on the first of tensorrt, openvino, opencv that loads it.
/// Throws `Failure`: bad input if the name is unknown or the model does not load, unavailable if the engine is not
/// available in this build or on this machine.
std::unique_ptr<Engine> load_engine(const std::string &name, const ModelArtifact &model);

/// Names of the engines in this build.
std::vector<std::string> engine_names();

std::unique_ptr<Engine> load_openvino(const ModelArtifact &model);
std::unique_ptr<Engine> load_tensorrt(const ModelArtifact &model);

}  // namespace edgeproof::app
