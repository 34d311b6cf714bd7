#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "edgeproof/artifact.h"

namespace edgeproof {

/// A TensorRT plan of a bundle that may be loaded here.
struct CompiledEngine {
    std::string name;  ///< of the plan's file, for messages
    std::string plan;  ///< its content, which was hashed
    bool version_compatible = false;  ///< it contains host code, which its hash in the manifest covers
    int dla_core = -1;                ///< -1 for none
};

/// The bundle's TensorRT plan for a model, checked before it is loaded: hashes of plan and engine.json, that this
/// machine may run it (`is_trusted`), the model that it was built from, TensorRT's version, the GPU. The same rules as
/// `edgeproof_runtime.bundle.engine_record`.
/// `installed` is (major, minor, patch) of the TensorRT in use, `compute_capability` of the GPU, such as "8.7".
/// Throws `Failure`: unavailable if no plan matches, bad input if a plan or its record is invalid.
CompiledEngine find_compiled(const ModelArtifact &model, const std::vector<int> &installed,
                             const std::string &compute_capability);

/// Content of the bundle's compiled OpenVINO model; its hash and the model that it was built from are checked. Empty if
/// missing, or if this machine may not run it: the ONNX model is compiled instead. OpenVINO itself checks its version
/// and the CPU. Throws `Failure` (bad input).
std::optional<std::string> find_blob(const ModelArtifact &model);

/// Whether a compiled engine, which is code, may be deserialised on this machine: it was built here, or is trusted by
/// its hash. Mirrors `edgeproof_runtime.bundle.trust`, with the same cache and the same environment variable.
bool is_trusted(const std::string &sha256);

}  // namespace edgeproof
