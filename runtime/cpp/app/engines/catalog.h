#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engines/base.h"

namespace edgeproof::app {

/// Load a model on an engine, by name, or with "auto" on the first of tensorrt, openvino, opencv that loads it.
/// Throws `Failure`: bad input if the name is unknown or the model does not load, unavailable if the engine is not
/// available in this build or on this machine.
/// What an engine has never loaded on this machine is first loaded in a child process: see `try_engines`.
std::unique_ptr<Engine> load_engine(const std::string &name, const ModelArtifact &model);

/// Try in a child process what `load_engine` may load, unless the outcome is known. Call it before this process has
/// threads, which a source may start. Throws nothing for an engine that fails: `load_engine` does.
void try_engines(const std::string &name, const ModelArtifact &model);

/// Names of the engines in this build.
std::vector<std::string> engine_names();

std::unique_ptr<Engine> load_openvino(const ModelArtifact &model);
std::unique_ptr<Engine> load_tensorrt(const ModelArtifact &model);
std::string openvino_version();
std::string tensorrt_version();

}  // namespace edgeproof::app
