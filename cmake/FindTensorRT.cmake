# TensorRT's headers and library: target TensorRT::nvinfer, TensorRT_VERSION. TensorRT_ROOT names an unpacked archive.
# Its plugins are optional: target TensorRT::nvinfer_plugin.

find_path(TensorRT_INCLUDE_DIR NvInfer.h PATH_SUFFIXES include include/${CMAKE_LIBRARY_ARCHITECTURE})
find_library(TensorRT_LIBRARY NAMES nvinfer PATH_SUFFIXES lib lib64 lib/${CMAKE_LIBRARY_ARCHITECTURE})
find_library(TensorRT_PLUGIN_LIBRARY NAMES nvinfer_plugin PATH_SUFFIXES lib lib64 lib/${CMAKE_LIBRARY_ARCHITECTURE})

# Up to 10.10 the header says "#define NV_TENSORRT_MAJOR 10"; since 10.11 it says "#define TRT_MAJOR_ENTERPRISE 10" and
# defines the old name through the new one.
function(_tensorrt_number part out)
  set(${out} "" PARENT_SCOPE)
  foreach(macro NV_TENSORRT_${part} TRT_${part}_ENTERPRISE)
    if(_tensorrt_header MATCHES "#define[ \t]+${macro}[ \t]+([0-9]+)")
      set(${out} ${CMAKE_MATCH_1} PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

if(TensorRT_INCLUDE_DIR AND EXISTS ${TensorRT_INCLUDE_DIR}/NvInferVersion.h)
  file(READ ${TensorRT_INCLUDE_DIR}/NvInferVersion.h _tensorrt_header)
  _tensorrt_number(MAJOR _major)
  _tensorrt_number(MINOR _minor)
  _tensorrt_number(PATCH _patch)
  set(TensorRT_VERSION ${_major}.${_minor}.${_patch})
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  TensorRT REQUIRED_VARS TensorRT_LIBRARY TensorRT_INCLUDE_DIR VERSION_VAR TensorRT_VERSION)
mark_as_advanced(TensorRT_INCLUDE_DIR TensorRT_LIBRARY TensorRT_PLUGIN_LIBRARY)

if(TensorRT_FOUND AND NOT TARGET TensorRT::nvinfer)
  add_library(TensorRT::nvinfer UNKNOWN IMPORTED)
  set_target_properties(
    TensorRT::nvinfer PROPERTIES IMPORTED_LOCATION ${TensorRT_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES
                                                                       ${TensorRT_INCLUDE_DIR})
endif()
if(TensorRT_FOUND
   AND TensorRT_PLUGIN_LIBRARY
   AND EXISTS ${TensorRT_INCLUDE_DIR}/NvInferPlugin.h
   AND NOT TARGET TensorRT::nvinfer_plugin)
  add_library(TensorRT::nvinfer_plugin UNKNOWN IMPORTED)
  set_target_properties(
    TensorRT::nvinfer_plugin PROPERTIES IMPORTED_LOCATION ${TensorRT_PLUGIN_LIBRARY} INTERFACE_LINK_LIBRARIES
                                                                                     TensorRT::nvinfer)
endif()
