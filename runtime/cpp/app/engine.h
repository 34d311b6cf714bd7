#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bundle.h"

namespace edgeproof::app {

/// What an engine loads: one model of a bundle, for batches of one.
struct Model {
    const Bundle &bundle;
    std::string precision;  ///< "fp32", "fp16" or "int8"
    std::optional<int> threads;

    /// Name of the ONNX file; TensorRT has a model of a shape of its own, where the bundle holds one. Throws `Failure`
    /// (unavailable) where the bundle has none of this precision.
    const std::string &onnx_name(bool for_tensorrt) const;
    /// The ONNX file for any other engine, its hash checked. Throws like `onnx_name`.
    std::filesystem::path onnx() const;
    /// Shape of the input tensor, batch dimension included, which is 1.
    std::vector<std::int64_t> input_shape() const;
    DType input_dtype() const { return bundle.latent ? DType::float32 : bundle.contract.dtype; }
    std::size_t input_bytes() const;
};

/// What is running, for reports.
struct EngineInfo {
    std::string name;
    std::string version;
    std::string device;
    std::optional<int> threads;
};

/// A loaded model. One thread at a time.
class Engine {
  public:
    Engine() = default;
    Engine(const Engine &) = delete;
    Engine &operator=(const Engine &) = delete;
    virtual ~Engine() = default;

    virtual EngineInfo describe() const = 0;
    /// Memory of one input tensor, in the contract's layout and dtype (of a generator: float32), that `run` reads.
    virtual void *input() = 0;
    /// Infer what lies in `input()`. Throws `Failure`.
    virtual void run() = 0;
    /// The last run's `bundle.output_size(index)` values of an output, which the next run overwrites.
    virtual const float *output(std::size_t index) const = 0;
};

/// Load a model on the engine of this name, or with "auto" on the first of tensorrt, openvino, opencv that loads it.
/// Throws `Failure`: bad input where no engine has this name or the model does not load on it, unavailable where this
/// build or machine lacks it.
std::unique_ptr<Engine> load_engine(const std::string &name, const Model &model);

/// Names of the engines that this program was built with.
std::vector<std::string> engine_names();

std::unique_ptr<Engine> load_openvino(const Model &model);
std::unique_ptr<Engine> load_tensorrt(const Model &model);

}  // namespace edgeproof::app
