#include "edgeproof/postprocess.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <utility>

#include "buffer.h"
#include "edgeproof/unknown.h"
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

std::pair<std::string, double> unknown_rule(const std::string &text) {
    const UnknownRule rule = parse_unknown(text);
    return {std::string(known_score_names[static_cast<std::size_t>(rule.score)]), rule.limit};
}

/// Over the last axis; `name` is one of `known_score_names`.
std::vector<double> known_scores(const std::string &name, nb::handle values) {
    const KnownScore score = parse_unknown(name + ":0").score;
    const Buffer rows(values, Buffer::contiguous, "f");
    if (rows->ndim == 0) throw nb::type_error("known_scores takes rows of values");
    const auto classes = static_cast<std::size_t>(rows->shape[rows->ndim - 1]);
    const auto count = static_cast<std::size_t>(rows->len) / sizeof(float);
    const auto *first = static_cast<const float *>(rows->buf);
    std::vector<double> found;
    for (std::size_t at = 0; at < count; at += classes) found.push_back(known_score(score, first + at, classes));
    return found;
}

}  // namespace

void register_postprocess(nb::module_ &m) {
    m.def("softmax", &softmax_rows, "scores"_a, nb::sig("def softmax(scores: NDArray[np.float32]) -> None"));
    m.def("top_k", &best, "scores"_a, "k"_a,
          nb::sig("def top_k(scores: NDArray[np.float32], k: int) -> list[tuple[int, float]]"));
    m.def("unknown_rule", &unknown_rule, "text"_a, nb::sig("def unknown_rule(text: str) -> tuple[str, float]"));
    m.def("known_scores", &known_scores, "name"_a, "values"_a,
          nb::sig("def known_scores(name: str, values: NDArray[np.float32]) -> list[float]"));
}

}  // namespace edgeproof::bindings
