#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "edgeproof/artifact.h"

namespace edgeproof {

/// The GPU that a plan shall run on.
struct PlanGpu {
    std::string compute_capability;  ///< such as "8.7"
    std::string identity;            ///< `gpu_identity` of it
};

/// A TensorRT plan of a bundle that may be loaded here.
struct CompiledEngine {
    std::string name;  ///< of the plan's file, for messages
    std::string plan;  ///< its content, which was hashed
    bool version_compatible = false;  ///< it contains host code, which its hash in the manifest covers
    int dla_core = -1;                ///< -1 for none
    std::string key;                  ///< that the bundle lists it under
    std::string built_on;             ///< identity of the GPU that built it; empty if unknown
    std::optional<std::string> note;  ///< warning: it was built on another GPU of the same compute capability
};

/// Name that tells GPUs of one compute capability apart: every Orin is called Orin. `board`: name of a Jetson, or empty.
/// `tests/golden/gpus.json` holds it and `other_gpu`.
std::string gpu_identity(const std::string &name, int multiprocessors, std::uint64_t memory_bytes,
                         const std::string &board);

/// A warning if a plan was built on another GPU of the same compute capability. `built_on`: as recorded; the name alone,
/// as older versions recorded it, is not compared.
std::optional<std::string> other_gpu(const std::string &built_on, const std::string &identity);

/// The bundle's TensorRT plan for a model, checked before it is loaded: hashes of plan and engine.json, that this
/// machine may run it (`is_trusted`), the model that it was built from, TensorRT's version, the GPU. The same rules as
/// `edgeproof_runtime.bundle.engine_record`.
/// A plan that this GPU built goes before those of others. `installed` is (major, minor, patch) of the TensorRT in use.
/// Throws `Failure`: unavailable if no plan matches, bad input if a plan or its record is invalid.
CompiledEngine find_compiled(const ModelArtifact &model, const std::vector<int> &installed, const PlanGpu &gpu);

/// Content of the bundle's compiled OpenVINO model; its hash and the model that it was built from are checked. Empty if
/// missing, or if this machine may not run it: the ONNX model is compiled instead. OpenVINO itself checks its version
/// and the CPU. Throws `Failure` (bad input).
std::optional<std::string> find_blob(const ModelArtifact &model);

/// Whether a compiled engine, which is code, may be deserialised on this machine: it was built here, is signed
/// (`trust_signed`), or is trusted by its hash. Mirrors `edgeproof_runtime.bundle.trust`, with the same cache and the same environment variable.
bool is_trusted(const std::string &sha256);

/// Whether this user of this machine compiled an engine from an ONNX file of this hash.
bool is_built_here(const std::string &sha256, const std::string &onnx_sha256);

/// Trust an engine in this process and its children: a trusted signature covers it.
void trust_signed(const std::string &sha256);

}  // namespace edgeproof
