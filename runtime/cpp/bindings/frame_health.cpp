#include "edgeproof/frame_health.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <mutex>

#include "frame_view.h"
#include "module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgeproof::bindings {
namespace {

nb::object measures(nb::handle pixels) {
    const Buffer from(pixels, Buffer::strided, frame_formats);
    const auto found = measure_frame(frame_of(from, "bgr"));
    if (!found) return nb::none();
    nb::dict values;
    values["mean"] = found->mean;
    values["brightest"] = found->brightest;
    values["saturated"] = found->saturated;
    values["structure"] = found->structure;
    values["sharpness"] = found->sharpness;
    values["sharpest"] = found->sharpest ? nb::object(nb::float_(*found->sharpest)) : nb::none();
    values["step"] = found->step ? nb::object(nb::float_(*found->step)) : nb::none();
    return values;
}

/// The core's monitor behind a lock: Python may call one object from several threads at once.
class SharedMonitor {
  public:
    SharedMonitor(const std::string &limits, const std::string &classify) : monitor_(parse_health(limits, classify)) {}

    nb::object look(nb::handle pixels, bool damaged) {
        const Buffer from(pixels, Buffer::strided, frame_formats);
        const Frame frame = frame_of(from, "bgr");
        std::optional<FrameHealth> found;
        {
            const nb::gil_scoped_release released;
            const std::lock_guard<std::mutex> lock(mutex_);
            found = monitor_.look(frame, damaged);
        }
        if (!found) return nb::none();
        const std::string_view name = name_of(frame_health_names, *found);
        return nb::str(name.data(), name.size());
    }

    bool classifies(const std::string &cause) const {
        const auto found = std::find(frame_health_names.begin(), frame_health_names.end(), cause);
        return found != frame_health_names.end() &&
               monitor_.settings().classifies(static_cast<FrameHealth>(found - frame_health_names.begin()));
    }

    nb::dict settings() const {
        const HealthSettings &limits = monitor_.settings();
        nb::dict values;
        values["damaged"] = limits.damaged;
        values["frozen"] = limits.frozen;
        values["change"] = limits.change;
        values["black"] = limits.black;
        values["overexposed"] = limits.overexposed;
        values["covered"] = limits.covered;
        values["blurred"] = limits.blurred;
        return values;
    }

  private:
    HealthMonitor monitor_;
    std::mutex mutex_;
};

/// The core's gate behind a lock.
class SharedGate {
  public:
    explicit SharedGate(double share) : gate_(share) {}

    bool moved(nb::handle pixels) {
        const Buffer from(pixels, Buffer::strided, frame_formats);
        const Frame frame = frame_of(from, "bgr");
        const nb::gil_scoped_release released;
        const std::lock_guard<std::mutex> lock(mutex_);
        return gate_.moved(frame);
    }

  private:
    MotionGate gate_;
    std::mutex mutex_;
};

}  // namespace

void register_frame_health(nb::module_ &m) {
    m.def("measure_frame", &measures, "frame"_a,
          nb::sig("def measure_frame(frame: NDArray[Any]) -> dict[str, float | None] | None"));
    nb::class_<SharedGate>(m, "MotionGate")
        .def(nb::init<double>(), "share"_a, nb::sig("def __init__(self, share: float) -> None"))
        .def("moved", &SharedGate::moved, "frame"_a, nb::sig("def moved(self, frame: NDArray[Any]) -> bool"));
    nb::class_<SharedMonitor>(m, "HealthMonitor")
        .def(nb::init<const std::string &, const std::string &>(), "limits"_a = "", "classify"_a = "",
             nb::sig("def __init__(self, limits: str = '', classify: str = '') -> None"))
        .def("look", &SharedMonitor::look, "frame"_a, "damaged"_a = false,
             nb::sig("def look(self, frame: NDArray[Any], damaged: bool = False) -> str | None"))
        .def("classifies", &SharedMonitor::classifies, "cause"_a,
             nb::sig("def classifies(self, cause: str) -> bool"))
        .def("settings", &SharedMonitor::settings, nb::sig("def settings(self) -> dict[str, Any]"));
}

}  // namespace edgeproof::bindings
