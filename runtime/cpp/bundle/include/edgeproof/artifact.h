#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "edgeproof/bundle.h"

namespace edgeproof {

/// What an engine loads: one model of a bundle, for batches of one.
struct ModelArtifact {
    const Bundle &bundle;
    std::string precision;  ///< "fp32", "fp16" or "int8"
    std::optional<int> threads;

    /// Name of the ONNX file, for TensorRT its own int8 graph if the bundle holds one. Throws `Failure` (bad input) if
    /// the bundle has no model of this precision.
    const std::string &onnx_name(bool for_tensorrt) const;
    /// The ONNX model for any other engine, as one self-contained file that was checked and cannot change.
    /// Values outside the file are moved into it. Throws like `onnx_name`, and `Failure` (bad input): the file was
    /// modified, is not an ONNX model, or refers to a file that the bundle does not list.
    PrivateCopy onnx() const;
    /// Shape of the input tensor, batch dimension included, which is 1.
    std::vector<std::int64_t> input_shape() const;
    DType input_dtype() const { return bundle.latent ? DType::float32 : bundle.contract.dtype; }
    std::size_t input_bytes() const;
};

}  // namespace edgeproof
