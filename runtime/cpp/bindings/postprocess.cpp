#include "edgeproof/postprocess.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <utility>

#include "buffer.h"
#include "module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgeproof::bindings {
namespace {

/// In place, over the last axis.
void softmax_rows(nb::handle scores) {
    const Buffer rows(scores, Buffer::contiguous | PyBUF_WRITABLE, "f");
    if (rows->ndim == 0) throw nb::type_error("softmax takes rows of scores");
    const auto classes = static_cast<std::size_t>(rows->shape[rows->ndim - 1]);
    const auto count = static_cast<std::size_t>(rows->len) / sizeof(float);
    auto *values = static_cast<float *>(rows->buf);
    for (std::size_t at = 0; at < count; at += classes) softmax(values + at, classes);
}

std::vector<std::pair<std::size_t, float>> best(nb::handle scores, std::size_t k) {
    const Buffer from(scores, Buffer::contiguous, "f");
    if (from->ndim != 1) throw nb::type_error("top_k takes one row of scores");
    const auto *values = static_cast<const float *>(from->buf);
    std::vector<std::pair<std::size_t, float>> pairs;
    for (const Scored &scored : top_k(values, static_cast<std::size_t>(from->shape[0]), k))
        pairs.emplace_back(scored.index, scored.score);
    return pairs;
}

}  // namespace

void register_postprocess(nb::module_ &m) {
    m.def("softmax", &softmax_rows, "scores"_a, nb::sig("def softmax(scores: NDArray[np.float32]) -> None"));
    m.def("top_k", &best, "scores"_a, "k"_a,
          nb::sig("def top_k(scores: NDArray[np.float32], k: int) -> list[tuple[int, float]]"));
}

}  // namespace edgeproof::bindings
