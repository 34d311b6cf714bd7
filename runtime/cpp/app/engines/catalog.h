#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engines/base.h"

namespace edgeproof::app {

/// Load a model on the engine of this name, or with "auto" on the first of tensorrt, openvino, opencv that loads it.
/// Throws `Failure`: bad input where no engine has this name or the model does not load on it, unavailable where this
/// build or machine lacks it.
std::unique_ptr<Engine> load_engine(const std::string &name, const ModelArtifact &model);

/// Names of the engines that this program was built with.
std::vector<std::string> engine_names();

std::unique_ptr<Engine> load_openvino(const ModelArtifact &model);
std::unique_ptr<Engine> load_tensorrt(const ModelArtifact &model);

}  // namespace edgeproof::app
