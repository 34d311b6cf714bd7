#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "buffer.h"
#include "edgeproof/average_precision.h"
#include "edgeproof/intervals.h"
#include "edgeproof/latency.h"
#include "module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgeproof::bindings {
namespace {

std::vector<double> values_of(nb::handle array) {
    const Buffer from(array, Buffer::contiguous, "d");
    if (from->ndim != 1) throw nb::type_error("the values stand in one row");
    const auto *values = static_cast<const double *>(from->buf);
    return {values, values + from->shape[0]};
}

nb::object percentiles(nb::handle array) {
    nb::list values;
    nb::dict unsupported;
    for (const Percentile &one : percentiles_of(values_of(array))) {
        values.append(one.value);
        if (!one.value) unsupported[nb::str(one.name.data(), one.name.size())] = one.unsupported;
    }
    return nb::make_tuple(values, unsupported);
}

std::pair<std::vector<double>, std::vector<double>> distribution(nb::handle array, std::size_t points) {
    LatencyDistribution found = distribution_of(values_of(array), points);
    return {std::move(found.ms), std::move(found.share)};
}

std::pair<double, double> area_interval(const std::vector<double> &good, const std::vector<double> &defect) {
    return auroc_ci95(auroc(good, defect), good.size(), defect.size());
}

/// Per class, mean, influence of each image.
std::tuple<std::vector<std::optional<double>>, std::optional<double>, std::vector<double>> precision_of(
    nb::handle scores, nb::handle shown) {
    const Buffer values(scores, Buffer::contiguous, "f");
    const Buffer targets(shown, Buffer::contiguous, "?");
    if (values->ndim != 2 || targets->ndim != 2 || values->shape[0] != targets->shape[0] ||
        values->shape[1] != targets->shape[1])
        throw nb::type_error("scores and targets have two dimensions, the same in both");
    AveragePrecision found = average_precision(
        static_cast<const float *>(values->buf), static_cast<const std::uint8_t *>(targets->buf),
        static_cast<std::size_t>(values->shape[0]), static_cast<std::size_t>(values->shape[1]));
    return {std::move(found.per_class), found.mean, std::move(found.influence)};
}

}  // namespace

void register_metrics(nb::module_ &m) {
    m.def("samples_needed", &samples_needed, "quantile"_a, nb::sig("def samples_needed(quantile: float) -> int"));
    m.def("percentiles", &percentiles, "values"_a,
          nb::sig("def percentiles(values: NDArray[np.float64]) -> tuple[list[float | None], dict[str, str]]"));
    m.def("distribution", &distribution, "values"_a, "points"_a,
          nb::sig("def distribution(values: NDArray[np.float64], points: int) -> tuple[list[float], list[float]]"));
    m.def("wilson_interval", &wilson_interval, "successes"_a, "n"_a,
          nb::sig("def wilson_interval(successes: int, n: int) -> tuple[float, float]"));
    m.def("auroc", &auroc, "good"_a, "defect"_a,
          nb::sig("def auroc(good: Sequence[float], defect: Sequence[float]) -> float"));
    m.def("auroc_ci95", &area_interval, "good"_a, "defect"_a,
          nb::sig("def auroc_ci95(good: Sequence[float], defect: Sequence[float]) -> tuple[float, float]"));
    m.def("average_precision", &precision_of, "scores"_a, "shown"_a,
          nb::sig("def average_precision(scores: NDArray[np.float32], shown: NDArray[np.bool_]) -> "
                  "tuple[list[float | None], float | None, list[float]]"));
    m.def("logit_interval", &logit_interval, "share"_a, "influence"_a,
          nb::sig("def logit_interval(share: float, influence: Sequence[float]) -> tuple[float, float] | None"));
}

}  // namespace edgeproof::bindings
