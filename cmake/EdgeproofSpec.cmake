# runtime/edgeproof_runtime/spec.json, which Python reads as it is, becomes the header edgeproof/spec.h.

set(_spec_file ${PROJECT_SOURCE_DIR}/runtime/edgeproof_runtime/spec.json)
set(EDGEPROOF_GENERATED_DIR ${PROJECT_BINARY_DIR}/generated)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${_spec_file})
file(READ ${_spec_file} _spec)
set(_header "")

macro(_spec_line)
  string(APPEND _header ${ARGN} "\n")
endmacro()

# Calls `command(index member-or-item...)` for each item of an array, or each member of an object.
function(_spec_length out)
  string(JSON length LENGTH "${_spec}" ${ARGN})
  math(EXPR last "${length} - 1")
  set(${out} ${length} PARENT_SCOPE)
  set(${out}_last ${last} PARENT_SCOPE)
endfunction()

# An array of strings as `constexpr std::array<std::string_view, n> NAME`.
macro(_spec_names name)
  _spec_length(_n ${ARGN})
  set(_items "")
  foreach(_i RANGE ${_n_last})
    string(JSON _item GET "${_spec}" ${ARGN} ${_i})
    string(APPEND _items "\"${_item}\", ")
  endforeach()
  _spec_line("inline constexpr std::array<std::string_view, ${_n}> ${name}{${_items}}\;")
endmacro()

# An array of strings as `enum class TYPE`, in the file's order, and its names as `KEY_names`.
macro(_spec_enum key type)
  _spec_length(_n enums ${key})
  set(_items "")
  foreach(_i RANGE ${_n_last})
    string(JSON _item GET "${_spec}" enums ${key} ${_i})
    string(MAKE_C_IDENTIFIER "${_item}" _item)
    string(TOLOWER "${_item}" _item)
    string(APPEND _items "${_item}, ")
  endforeach()
  _spec_line("enum class ${type} { ${_items}}\;")
  _spec_names(${key}_names enums ${key})
endmacro()

# An object's members as the items of `constexpr std::array<TYPE, n> NAME`: each "key" and, of an object, its fields.
macro(_spec_table name type key)
  _spec_length(_n ${key})
  set(_items "")
  foreach(_i RANGE ${_n_last})
    string(JSON _member MEMBER "${_spec}" ${key} ${_i})
    string(JSON _kind TYPE "${_spec}" ${key} ${_member})
    set(_fields "")
    if(_kind STREQUAL OBJECT)
      foreach(_field ${ARGN})
        string(JSON _value GET "${_spec}" ${key} ${_member} ${_field})
        string(APPEND _fields ", ${_value}")
      endforeach()
    else()
      string(JSON _value GET "${_spec}" ${key} ${_member})
      if(_kind STREQUAL STRING)
        set(_value "\"${_value}\"")
      endif()
      set(_fields ", ${_value}")
    endif()
    string(APPEND _items "{\"${_member}\"${_fields}}, ")
  endforeach()
  _spec_line("inline constexpr std::array<${type}, ${_n}> ${name}{{${_items}}}\;")
endmacro()

# A number or a string as a constant.
macro(_spec_value type name)
  string(JSON _value GET "${_spec}" ${ARGN})
  if("${type}" STREQUAL "std::string_view")
    set(_value "\"${_value}\"")
  endif()
  _spec_line("inline constexpr ${type} ${name} = ${_value}\;")
endmacro()

_spec_enum(task Task)
_spec_enum(precision Precision)
_spec_enum(activation Activation)
_spec_enum(color Color)
_spec_enum(resize ResizeMode)
_spec_enum(filter Filter)
_spec_enum(resampler Resampler)
_spec_enum(layout Layout)
_spec_enum(dtype DType)
_spec_enum(normal Normal)
_spec_enum(policy Policy)
_spec_enum(stream_state StreamState)
_spec_enum(loss_cause LossCause)
_spec_enum(frame_state FrameState)
_spec_enum(report_kind ReportKind)
_spec_enum(stage Stage)

_spec_length(_codes exit_codes)
set(_items "")
foreach(_i RANGE ${_codes_last})
  string(JSON _member MEMBER "${_spec}" exit_codes ${_i})
  string(JSON _value GET "${_spec}" exit_codes ${_member})
  string(APPEND _items "${_member} = ${_value}, ")
endforeach()
_spec_line("enum class ExitCode { ${_items}}\;")

_spec_line("namespace spec {")
_spec_value(std::string_view bundle_schema schemas bundle)
_spec_value(std::string_view report_schema schemas report)
_spec_value(double percentile_confidence percentile_confidence)
_spec_value(double latent_max_abs_diff latent_max_abs_diff)
_spec_value(double max_fps video max_fps)
_spec_value(std::int64_t max_frame_count video max_frame_count)
_spec_value(std::int64_t broken_in_a_row video broken_in_a_row)
_spec_value(std::int64_t broken_in_a_row_live video broken_in_a_row_live)
_spec_value(std::int64_t missing_frames_tolerated video missing_frames_tolerated)
_spec_value(double missing_share_tolerated video missing_share_tolerated)
_spec_value(std::int64_t max_stamp_age_ns video max_stamp_age_ns)
_spec_names(report_keys report_keys)
_spec_line("struct Percentile {\n    std::string_view name\;\n    double quantile\;\n}\;")
_spec_table(percentiles Percentile percentiles)
_spec_line("/// What a precision may cost.\nstruct ParityBound {\n    std::string_view precision\;\n"
           "    double relative_diff\;\n    double cosine\;\n    double top1_agreement\;\n}\;")
_spec_table(parity_bounds ParityBound parity_bounds relative_diff cosine top1_agreement)
_spec_line("/// The kernel's flag and the field's name.\nstruct CpuFeature {\n    std::string_view flag\;\n"
           "    std::string_view name\;\n}\;")
_spec_table(cpu_features CpuFeature cpu_features)
_spec_line("}  // namespace spec")

file(CONFIGURE OUTPUT ${EDGEPROOF_GENERATED_DIR}/edgeproof/spec.h CONTENT
"#pragma once

// Generated from runtime/edgeproof_runtime/spec.json; edit that file.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace edgeproof {

@_header@
/// The name of an enumerator in files and reports.
template <class Enum, std::size_t n>
constexpr std::string_view name_of(const std::array<std::string_view, n> &names, Enum value) {
    return names[static_cast<std::size_t>(value)];
}

}  // namespace edgeproof
" @ONLY)
