// Any bytes as an ONNX file: its references found and its external data put in, or refused with an error.

#include <cstdint>
#include <string>
#include <string_view>

#include "edgeproof/error.h"
#include "edgeproof/onnx_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    const std::string_view model(reinterpret_cast<const char *>(data), size);
    try {
        edgeproof::onnx_references(model);
        static const std::string content(4096, '\1');
        edgeproof::with_external_data(model, [](const std::string &) -> std::string_view { return content; });
    } catch (const edgeproof::Error &) {
    }
    return 0;
}
