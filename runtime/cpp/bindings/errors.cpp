#include <nanobind/stl/string.h>

#include "edgeproof/error.h"
#include "module.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace edgeproof::bindings {
namespace {

nb::object text_or_none(const std::string &text) {
    return text.empty() ? nb::none() : nb::object(nb::str(text.c_str(), text.size()));
}

void translate(const std::exception_ptr &pointer, void *) {
    try {
        std::rethrow_exception(pointer);
    } catch (const Error &error) {
        constexpr const char *names[] = {"ContractError", "FrameError", "InputError",
                                           "InputError"};  // in the order of Error::Kind
        const nb::object type =
            nb::module_::import_("edgeproof_runtime.errors").attr(names[static_cast<std::size_t>(error.kind)]);
        const nb::object value = type(error.problem, "got"_a = text_or_none(error.got),
                                      "expected"_a = text_or_none(error.expected), "fix"_a = text_or_none(error.fix));
        PyErr_SetObject(type.ptr(), value.ptr());
    }
}

}  // namespace

void register_errors(nb::module_ &) { nb::register_exception_translator(translate); }

}  // namespace edgeproof::bindings
