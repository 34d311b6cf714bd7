#pragma once

#include <nanobind/nanobind.h>

#include <string_view>

namespace edgeproof::bindings {

/// The memory of a NumPy array while it lives. Python's buffer protocol: a quarter of what nb::ndarray, by way of
/// DLPack, takes for a small array.
class Buffer {
  public:
    static constexpr int strided = PyBUF_STRIDES | PyBUF_FORMAT;
    static constexpr int contiguous = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT;

    /// Raises TypeError where the object has no such memory or holds items of another format of the struct module;
    /// `formats` names the formats that it may hold, one character each.
    Buffer(nanobind::handle object, int flags, std::string_view formats) {
        if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) throw nanobind::python_error();
        if (view_.format == nullptr || view_.format[0] == 0 || view_.format[1] != 0 ||
            formats.find(view_.format[0]) == std::string_view::npos) {
            PyBuffer_Release(&view_);
            throw nanobind::type_error("the array holds items of another type");
        }
    }
    ~Buffer() { PyBuffer_Release(&view_); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;

    const Py_buffer *operator->() const { return &view_; }

  private:
    Py_buffer view_{};
};

}  // namespace edgeproof::bindings
