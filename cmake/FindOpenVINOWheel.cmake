# OpenVINO (target openvino::runtime): from OpenVINO_DIR or the system, else from the wheel that a Python here has.
# EDGEPROOF_PYTHON names that Python; the wheel ships headers and OpenVINOConfig.cmake.

find_package(OpenVINO QUIET COMPONENTS Runtime)
if(NOT OpenVINO_FOUND)
  find_program(EDGEPROOF_PYTHON NAMES python3 python HINTS ENV VIRTUAL_ENV ${PROJECT_SOURCE_DIR}/.venv PATH_SUFFIXES bin)
  if(EDGEPROOF_PYTHON)
    execute_process(
      COMMAND ${EDGEPROOF_PYTHON} -c
              "import importlib.util as u; s = u.find_spec('openvino'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE wheel OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    find_package(OpenVINO QUIET COMPONENTS Runtime PATHS ${wheel}/cmake NO_DEFAULT_PATH)
  endif()
endif()
set(OpenVINOWheel_FOUND ${OpenVINO_FOUND})
