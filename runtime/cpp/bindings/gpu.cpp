#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <array>
#include <string_view>

#include "edgeproof/gpu_plan.h"
#include "frame_view.h"
#include "gpu_sources.h"
#include "module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgeproof::bindings {
namespace {

FrameDtype frame_dtype_named(std::string_view name) {
    for (std::size_t i = 0; i < frame_dtype_names.size(); ++i)
        if (frame_dtype_names[i] == name) return static_cast<FrameDtype>(i);
    throw Error(Error::Kind::frame, "frame: wrong dtype", std::string(name), "uint8, uint16 or float32");
}

Frame layout_of(std::int64_t height, std::int64_t width, int channels, std::string_view dtype, std::string_view color,
                std::string_view format, std::string_view matrix, std::string_view range) {
    Frame layout = Frame::packed(nullptr, height, width, channels, parse_color(color), 0, frame_dtype_named(dtype));
    layout.format = parse_pixel_format(format);
    layout.matrix = parse_yuv_matrix(matrix);
    layout.range = parse_yuv_range(range);
    return layout;
}

nb::bytes bytes_of(const std::vector<std::uint8_t> &bytes) { return nb::bytes(bytes.data(), bytes.size()); }

}  // namespace

void register_gpu(nb::module_ &m) {
    nb::class_<GpuPlan>(m, "GpuPlan")
        .def(
            "__init__",
            [](GpuPlan *self, const std::string &contract, std::int64_t height, std::int64_t width, int channels,
               const std::string &dtype, const std::string &color, const std::string &format, const std::string &matrix,
               const std::string &range) {
                new (self) GpuPlan(parse_contract(contract),
                                   layout_of(height, width, channels, dtype, color, format, matrix, range));
            },
            "contract"_a, "height"_a, "width"_a, "channels"_a, "dtype"_a, "color"_a, "format"_a, "matrix"_a, "range"_a)
        .def_prop_ro("tables", [](const GpuPlan &self) { return bytes_of(self.tables()); })
        .def_prop_ro("scratch_bytes", &GpuPlan::scratch_bytes)
        .def_prop_ro(
            "launches",
            [](const GpuPlan &self) {
                nb::list found;
                for (const auto &launch : self.launches())
                    found.append(nb::make_tuple(launch.kernel, nb::tuple(nb::cast(launch.grid)),
                                                nb::tuple(nb::cast(launch.block))));
                return found;
            },
            nb::sig("def launches(self) -> list[tuple[str, tuple[int, int, int], tuple[int, int, int]]]"))
        .def(
            "job",
            [](const GpuPlan &self, const std::array<std::uint64_t, 3> &planes,
               const std::array<std::int64_t, 3> &pitches, std::uint64_t tables, std::uint64_t scratch,
               std::uint64_t out) { return bytes_of(self.job(planes, pitches, tables, scratch, out)); },
            "planes"_a, "pitches"_a, "tables"_a, "scratch"_a, "out"_a,
            nb::sig("def job(self, planes: Sequence[int], pitches: Sequence[int], tables: int, scratch: int, "
                    "out: int) -> bytes"));
    m.def(
        "gpu_sources",
        [] {
            nb::dict found;
            for (const auto &source : gpu_sources) found[source[0]] = source[1];
            return found;
        },
        nb::sig("def gpu_sources() -> dict[str, str]"));
}

}  // namespace edgeproof::bindings
