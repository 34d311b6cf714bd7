#include "edgeproof/postprocess.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <utility>

#include "module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgeproof::bindings {
namespace {

using Scores = nb::ndarray<const float, nb::ndim<1>, nb::device::cpu, nb::c_contig>;
using Batch = nb::ndarray<float, nb::ndim<2>, nb::device::cpu, nb::c_contig>;

void softmax_rows(const Batch &scores) {
    for (std::size_t row = 0; row < scores.shape(0); ++row)
        softmax(scores.data() + row * scores.shape(1), scores.shape(1));
}

std::vector<std::pair<std::size_t, float>> best(const Scores &scores, std::size_t k) {
    std::vector<std::pair<std::size_t, float>> pairs;
    for (const Scored &scored : top_k(scores.data(), scores.size(), k)) pairs.emplace_back(scored.index, scored.score);
    return pairs;
}

}  // namespace

void register_postprocess(nb::module_ &m) {
    m.def("softmax", &softmax_rows, "scores"_a.noconvert(), nb::call_guard<nb::gil_scoped_release>(),
          nb::sig("def softmax(scores: NDArray[np.float32]) -> None"));
    m.def("top_k", &best, "scores"_a.noconvert(), "k"_a,
          nb::sig("def top_k(scores: NDArray[np.float32], k: int) -> list[tuple[int, float]]"));
}

}  // namespace edgeproof::bindings
