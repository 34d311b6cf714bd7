#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "edgeproof/capture.h"
#include "edgeproof/cores.h"
#include "edgeproof/days.h"
#include "edgeproof/damage.h"
#include "edgeproof/redact.h"
#include "module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgeproof::bindings {
namespace {

// By way of bytes, because a file name that is not UTF-8 is a string with lone surrogates, which no std::string can hold.
template <std::string (*function)(const std::string &)>
nb::object of_text(const nb::str &text) {
    const nb::object bytes = nb::steal(PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogatepass"));
    if (!bytes.is_valid()) throw nb::python_error();
    const auto &read = nb::cast<nb::bytes>(bytes);
    const std::string result = function({read.c_str(), read.size()});
    return nb::steal(PyUnicode_DecodeUTF8(result.data(), static_cast<Py_ssize_t>(result.size()), "surrogatepass"));
}

}  // namespace

void register_system(nb::module_ &m) {
    m.def("redact", &of_text<redact>, "text"_a, nb::sig("def redact(text: str) -> str"));
    m.def("redact_address", &of_text<redact_address>, "address"_a, nb::sig("def redact_address(address: str) -> str"));
    m.def("without_credentials", &of_text<without_credentials>, "address"_a,
          nb::sig("def without_credentials(address: str) -> str"));
    m.def("usable_cores", &usable_cores, nb::sig("def usable_cores() -> int"));
    m.def("within_cpu_quota", &within_cpu_quota, "cores"_a, "root"_a = "",
          nb::sig("def within_cpu_quota(cores: int, root: str = '') -> int"));
    m.def("is_new_day", &is_new_day, "day"_a, "today"_a, nb::sig("def is_new_day(day: int, today: int) -> bool"));
    m.def("stamped_ns", &stamped_ns, "stamp_ms"_a, "arrived_ns"_a,
          nb::sig("def stamped_ns(stamp_ms: float, arrived_ns: int) -> int"));
    nb::class_<GrabCount>(m, "GrabCount")
        .def(nb::init<std::optional<std::int64_t>, double>(), "claimed_frames"_a.none(), "read_timeout_s"_a,
             nb::sig("def __init__(self, claimed_frames: int | None, read_timeout_s: float) -> None"))
        .def("failed", &GrabCount::failed, "waited_s"_a, nb::sig("def failed(self, waited_s: float) -> bool"))
        .def("grabbed", &GrabCount::grabbed, "decoded"_a, nb::sig("def grabbed(self, decoded: bool) -> int"))
        .def("losses", &GrabCount::losses, "live"_a, nb::sig("def losses(self, live: bool) -> list[str]"));
    nb::class_<DamageTrace>(m, "DamageTrace")
        .def(nb::init<bool>(), "intra_only"_a, nb::sig("def __init__(self, intra_only: bool) -> None"))
        .def("sent", &DamageTrace::sent, "pts"_a.none(), "key"_a, "corrupt"_a,
             nb::sig("def sent(self, pts: int | None, key: bool, corrupt: bool) -> int"))
        .def("lost", &DamageTrace::lost, nb::sig("def lost(self) -> None"))
        .def("undecodable", &DamageTrace::undecodable, "number"_a, nb::sig("def undecodable(self, number: int) -> None"))
        .def("concealed", &DamageTrace::concealed, "number"_a, nb::sig("def concealed(self, number: int) -> None"))
        .def("decoded", &DamageTrace::decoded, "number"_a, "corrupt"_a,
             nb::sig("def decoded(self, number: int, corrupt: bool) -> None"))
        .def("finish", &DamageTrace::finish, nb::sig("def finish(self) -> None"))
        .def(
            "next",
            [](DamageTrace &trace) -> std::optional<std::pair<std::int64_t, std::string>> {
                const auto frame = trace.next();
                return frame ? std::make_optional(std::make_pair(frame->number, frame->damage)) : std::nullopt;
            },
            nb::sig("def next(self) -> tuple[int, str] | None"));
}

}  // namespace edgeproof::bindings
