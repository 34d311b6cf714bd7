#include "edgeproof/preprocess.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <mutex>
#include <string_view>

#include "edgeproof/error.h"
#include "module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgeproof::bindings {
namespace {

using Pixels = nb::ndarray<const std::uint8_t, nb::device::cpu>;
using Slot = nb::ndarray<nb::device::cpu, nb::c_contig>;

Frame frame_of(const Pixels &pixels, std::string_view color) {
    if (pixels.ndim() != 2 && pixels.ndim() != 3)
        throw Error(Error::Kind::frame, "the frame has the wrong shape", std::to_string(pixels.ndim()) + " dimensions",
                    "HxW, HxWx1 or HxWx3");
    Frame frame;
    frame.data = pixels.data();
    frame.height = static_cast<std::int64_t>(pixels.shape(0));
    frame.width = static_cast<std::int64_t>(pixels.shape(1));
    frame.row_stride = pixels.stride(0);
    frame.column_stride = pixels.stride(1);
    const std::size_t channels = pixels.ndim() == 3 ? pixels.shape(2) : 1;
    frame.channels = channels == 3 ? 3 : channels == 1 ? 1 : 0;
    frame.channel_stride = pixels.ndim() == 3 ? pixels.stride(2) : 1;
    frame.color = parse_color(color);
    return frame;
}

/// The core's Preprocessor behind a lock, because Python may call one object from several threads at once.
class SharedPreprocessor {
  public:
    SharedPreprocessor(const std::string &contract, int threads, std::string simd)
        : preprocessor_(parse_contract(contract), {threads, std::move(simd)}) {}

    void run(const Pixels &pixels, const Slot &out, std::string_view color) {
        const Contract &contract = preprocessor_.contract();
        check(out, contract.slot_bytes());
        const Frame frame = frame_of(pixels, color);
        const nb::gil_scoped_release released;
        const std::lock_guard<std::mutex> lock(mutex_);
        preprocessor_(frame, out.data());
    }

    void uint8_stage(const Pixels &pixels, const Slot &out, std::string_view color) {
        const Size size = preprocessor_.contract().tensor_size();
        const auto channels = static_cast<std::size_t>(preprocessor_.contract().channels());
        check(out, channels * static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width));
        const Frame frame = frame_of(pixels, color);
        const nb::gil_scoped_release released;
        const std::lock_guard<std::mutex> lock(mutex_);
        preprocessor_.uint8_stage(frame, static_cast<std::uint8_t *>(out.data()));
    }

  private:
    static void check(const Slot &out, std::size_t bytes) {
        if (out.nbytes() != bytes)
            throw Error(Error::Kind::frame, "the output buffer does not fit the contract",
                        std::to_string(out.nbytes()) + " bytes", std::to_string(bytes));
    }

    Preprocessor preprocessor_;
    std::mutex mutex_;
};

}  // namespace

void register_preprocess(nb::module_ &m) {
    nb::class_<SharedPreprocessor>(m, "Preprocessor")
        .def(nb::init<const std::string &, int, std::string>(), "contract"_a, "threads"_a = 1, "simd"_a = "",
             nb::sig("def __init__(self, contract: str, threads: int = 1, simd: str = '') -> None"))
        .def("run", &SharedPreprocessor::run, "frame"_a.noconvert(), "out"_a.noconvert(), "color"_a,
             nb::sig("def run(self, frame: NDArray[np.uint8], out: NDArray[np.generic], color: str) -> None"))
        .def("uint8_stage", &SharedPreprocessor::uint8_stage, "frame"_a.noconvert(), "out"_a.noconvert(), "color"_a,
             nb::sig("def uint8_stage(self, frame: NDArray[np.uint8], out: NDArray[np.uint8], color: str) -> None"));
    m.def("simd_levels", &simd_levels, nb::sig("def simd_levels() -> list[str]"));
}

}  // namespace edgeproof::bindings
