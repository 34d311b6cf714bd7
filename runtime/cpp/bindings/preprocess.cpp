#include "edgeproof/preprocess.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <string_view>

#include "frame_view.h"
#include "edgeproof/error.h"
#include "edgeproof/geometry.h"
#include "edgeproof/yuv.h"
#include "module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgeproof::bindings {
namespace {

std::array<std::int64_t, 3> shape_of(const Contract &contract) {
    const auto [height, width] = contract.tensor_size();
    const auto channels = static_cast<std::int64_t>(contract.channels());
    if (contract.layout == Layout::nchw) return {channels, height, width};
    return {height, width, channels};
}

/// As the struct module calls it.
std::string_view format_of(DType dtype) {
    return dtype == DType::float32 ? "f" : dtype == DType::float16 ? "e" : "B";
}

/// The core's Preprocessor behind a lock, because Python may call one object from several threads at once.
class SharedPreprocessor {
  public:
    SharedPreprocessor(const std::string &contract, int threads, std::string simd)
        : preprocessor_(parse_contract(contract), {threads, std::move(simd)}),
          slot_shape_(shape_of(preprocessor_.contract())), slot_format_(format_of(preprocessor_.contract().dtype)) {}

    void run(nb::handle pixels, nb::handle out, std::string_view color) {
        const Buffer from(pixels, Buffer::strided, frame_formats);
        run(frame_of(from, color), out);
    }

    void run_yuv(nb::handle pixels, std::string_view format, std::string_view matrix, std::string_view range,
                 nb::handle out) {
        const Buffer from(pixels, Buffer::contiguous, "B");
        run(yuv_frame_of(from, format, matrix, range), out);
    }

    void uint8_stage(nb::handle pixels, nb::handle out, std::string_view color) {
        const Size size = preprocessor_.contract().tensor_size();
        const Py_ssize_t bytes = Py_ssize_t{preprocessor_.contract().channels()} * size.height * size.width;
        const Buffer from(pixels, Buffer::strided, "B");
        const Buffer to(out, Buffer::contiguous | PyBUF_WRITABLE, "B");
        if (to->len != bytes)
            throw Error(Error::Kind::frame, "out: does not match the contract", std::to_string(to->len) + " bytes",
                        std::to_string(bytes));
        const Frame frame = frame_of(from, color);
        const nb::gil_scoped_release released;
        const std::lock_guard<std::mutex> lock(mutex_);
        preprocessor_.uint8_stage(frame, static_cast<std::uint8_t *>(to->buf));
    }

  private:
    void run(const Frame &frame, nb::handle out) {
        const Buffer to(out, Buffer::contiguous | PyBUF_WRITABLE, slot_format_);
        if (!std::equal(slot_shape_.begin(), slot_shape_.end(), to->shape, to->shape + to->ndim))
            throw Error(Error::Kind::frame, "out: does not match the contract");
        const nb::gil_scoped_release released;
        const std::lock_guard<std::mutex> lock(mutex_);
        preprocessor_(frame, to->buf);
    }

    Preprocessor preprocessor_;
    std::array<std::int64_t, 3> slot_shape_;
    std::string_view slot_format_;
    std::mutex mutex_;
};

}  // namespace

void register_preprocess(nb::module_ &m) {
    nb::class_<SharedPreprocessor>(m, "Preprocessor")
        .def(nb::init<const std::string &, int, std::string>(), "contract"_a, "threads"_a = 1, "simd"_a = "",
             nb::sig("def __init__(self, contract: str, threads: int = 1, simd: str = '') -> None"))
        .def("run", nb::overload_cast<nb::handle, nb::handle, std::string_view>(&SharedPreprocessor::run), "frame"_a, "out"_a, "color"_a,
             nb::sig("def run(self, frame: NDArray[Any], out: NDArray[np.generic], color: str) -> None"))
        .def("run_yuv", &SharedPreprocessor::run_yuv, "frame"_a, "format"_a, "matrix"_a, "range"_a, "out"_a,
             nb::sig("def run_yuv(self, frame: NDArray[np.uint8], format: str, matrix: str, range: str, "
                     "out: NDArray[np.generic]) -> None"))
        .def("uint8_stage", &SharedPreprocessor::uint8_stage, "frame"_a, "out"_a, "color"_a,
             nb::sig("def uint8_stage(self, frame: NDArray[np.uint8], out: NDArray[np.uint8], color: str) -> None"));
    m.def(
        "tensor_region",
        [](const std::string &contract, std::int64_t height, std::int64_t width) {
            const Region found = tensor_region(parse_contract(contract), height, width);
            return nb::make_tuple(found.top, found.left, found.height, found.width);
        },
        "contract"_a, "height"_a, "width"_a,
        nb::sig("def tensor_region(contract: str, height: int, width: int) -> tuple[float, float, float, float]"));
    m.def(
        "yuv_to_bgr",
        [](nb::handle pixels, const std::string &format, const std::string &matrix, const std::string &range,
           nb::handle out) {
            const Buffer from(pixels, Buffer::contiguous, "B");
            const Buffer to(out, Buffer::contiguous | PyBUF_WRITABLE, "B");
            const Frame frame = yuv_frame_of(from, format, matrix, range);
            if (to->len != 3 * frame.height * frame.width)
                throw Error(Error::Kind::frame, "out: does not match the frame", std::to_string(to->len) + " bytes",
                            std::to_string(3 * frame.height * frame.width));
            const nb::gil_scoped_release released;
            yuv_to_bgr(frame, static_cast<std::uint8_t *>(to->buf));
        },
        "frame"_a, "format"_a, "matrix"_a, "range"_a, "out"_a,
        nb::sig("def yuv_to_bgr(frame: NDArray[np.uint8], format: str, matrix: str, range: str, "
                "out: NDArray[np.uint8]) -> None"));
    m.def("simd_levels", &simd_levels, nb::sig("def simd_levels() -> list[str]"));
}

}  // namespace edgeproof::bindings
