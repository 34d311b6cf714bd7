#include "edgeproof/latency.h"

#include <nanobind/stl/optional.h>

#include "module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgeproof::bindings {

void register_latency(nb::module_ &m) {
    nb::class_<LatencySummary>(m, "LatencySummary")
        .def_ro("count", &LatencySummary::count)
        .def_ro("mean", &LatencySummary::mean)
        .def_ro("p50", &LatencySummary::p50)
        .def_ro("p90", &LatencySummary::p90)
        .def_ro("p99", &LatencySummary::p99)
        .def_ro("max", &LatencySummary::max);
    nb::class_<LatencyRecorder>(m, "LatencyRecorder")
        .def(nb::init<std::size_t>(), "capacity"_a = 100'000,
             nb::sig("def __init__(self, capacity: int = 100000) -> None"))
        .def("record", &LatencyRecorder::record, "sample"_a, nb::sig("def record(self, sample: float) -> None"))
        .def("summary", &LatencyRecorder::summary, nb::sig("def summary(self) -> LatencySummary"))
        .def_prop_ro("total", &LatencyRecorder::total);
    m.def("samples_needed", &samples_needed, "p"_a, nb::sig("def samples_needed(p: float) -> int"));
}

}  // namespace edgeproof::bindings
