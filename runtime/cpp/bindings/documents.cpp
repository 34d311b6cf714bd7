#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "edgeproof/json.h"
#include "edgeproof/onnx_file.h"
#include "module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgeproof::bindings {
namespace {

// Of any buffer: a mapped file is not copied.
using Buffer = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::string_view view(const nb::bytes &bytes) { return {bytes.c_str(), bytes.size()}; }
std::string_view view(const Buffer &buffer) { return {reinterpret_cast<const char *>(buffer.data()), buffer.size()}; }

// Bytes, because a location need not be UTF-8.
nb::tuple references(const Buffer &model) {
    const OnnxReferences found = onnx_references(view(model));
    nb::list files;
    for (const std::string &file : found.files) files.append(nb::bytes(file.data(), file.size()));
    return nb::make_tuple(files, found.compiled);
}

nb::bytes inlined(const Buffer &model, const nb::dict &files) {
    const std::string whole = with_external_data(view(model), [&files](const std::string &location) {
        return view(nb::cast<nb::bytes>(files[nb::bytes(location.data(), location.size())]));
    });
    return nb::bytes(whole.data(), whole.size());
}

}  // namespace

void register_documents(nb::module_ &m) {
    m.def(
        "check_json", [](const nb::bytes &text, std::int64_t max_bytes) { json::check(view(text), max_bytes); },
        "text"_a, "max_bytes"_a, nb::sig("def check_json(text: bytes, max_bytes: int) -> None"));
    m.def("onnx_references", &references, "model"_a,
          nb::sig("def onnx_references(model: mmap | bytes) -> tuple[list[bytes], bool]"));
    m.def("with_external_data", &inlined, "model"_a, "files"_a,
          nb::sig("def with_external_data(model: mmap | bytes, files: dict[bytes, bytes]) -> bytes"));
}

}  // namespace edgeproof::bindings
