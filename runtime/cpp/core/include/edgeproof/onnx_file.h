#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace edgeproof {

/// What an ONNX file refers to outside itself.
struct OnnxReferences {
    std::vector<std::string> files;  ///< locations of external tensors, each once, in the file's order
    bool compiled = false;           ///< a node holds a compiled engine (ONNX Runtime's EPContext), which is code
};

/// Read an ONNX file's references without the onnx package: only the protobuf fields that lead to tensors are visited.
/// Throws `Error` (kind model) if the bytes are not a protobuf message.
OnnxReferences onnx_references(std::string_view model);

/// The same model as one self-contained file. `content` returns a location's bytes.
/// Throws `Error` (kind model): a tensor lies outside its file, or the result exceeds protobuf's 2 GiB.
std::string with_external_data(std::string_view model,
                               const std::function<std::string_view(const std::string &)> &content);

}  // namespace edgeproof
