#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "edgeproof/artifact.h"

namespace edgeproof {

/// A TensorRT plan of a bundle that may be loaded here.
struct CompiledEngine {
    std::filesystem::path plan;
    bool version_compatible = false;  ///< it contains host code, which its hash in the manifest covers
    int dla_core = -1;                ///< -1 for none
};

/// The bundle's TensorRT plan for a model, checked before it is loaded: hashes of plan and engine.json, the model that
/// it was built from, TensorRT's version, the GPU. The same rules as `edgeproof_runtime.bundle.engine_record`.
/// `installed` is (major, minor, patch) of the TensorRT in use, `compute_capability` of the GPU, such as "8.7".
/// Throws `Failure`: unavailable if no plan matches, bad input if a plan or its record is invalid.
CompiledEngine find_compiled(const ModelArtifact &model, const std::vector<int> &installed,
                             const std::string &compute_capability);

/// The bundle's compiled OpenVINO model; its hash and the model that it was built from are checked. Empty if missing.
/// OpenVINO itself checks its version and the CPU. Throws `Failure` (bad input).
std::optional<std::filesystem::path> find_blob(const ModelArtifact &model);

}  // namespace edgeproof
