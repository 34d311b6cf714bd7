# edgeproof_core: the C++17 core library, without dependencies.

find_package(Threads REQUIRED)

set(core_dir ${PROJECT_SOURCE_DIR}/runtime/cpp)
add_library(
  edgeproof_core STATIC
  ${core_dir}/src/band.cpp
  ${core_dir}/src/contract.cpp
  ${core_dir}/src/filter_table.cpp
  ${core_dir}/src/geometry.cpp
  ${core_dir}/src/json.cpp
  ${core_dir}/src/kernels.cpp
  ${core_dir}/src/kernels_portable.cpp
  ${core_dir}/src/latency.cpp
  ${core_dir}/src/postprocess.cpp
  ${core_dir}/src/preprocess.cpp
  ${core_dir}/src/tensor_writer.cpp
  ${core_dir}/src/worker_pool.cpp)
add_library(edgeproof::core ALIAS edgeproof_core)

# The best kernels are chosen when the program runs, so only their own files get more than the baseline instructions.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_sources(edgeproof_core PRIVATE ${core_dir}/src/kernels_avx2.cpp ${core_dir}/src/kernels_avx512.cpp)
  set_source_files_properties(${core_dir}/src/kernels_avx2.cpp PROPERTIES COMPILE_OPTIONS "-mavx2")
  # GCC 12 warns about its own AVX-512 headers (GCC bug 105593).
  set_source_files_properties(
    ${core_dir}/src/kernels_avx512.cpp
    PROPERTIES COMPILE_OPTIONS "-mavx2;-mavx512f;-mavx512bw;-mavx512vl;-mavx512vnni;-Wno-uninitialized;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  target_sources(edgeproof_core PRIVATE ${core_dir}/src/kernels_neon.cpp)
endif()

target_compile_features(edgeproof_core PUBLIC cxx_std_17)
# A fused multiply-add rounds once where Pillow rounds twice, and the filter tables would differ from its own.
target_compile_options(edgeproof_core PRIVATE -Wall -Wextra -ffp-contract=off)
target_link_libraries(edgeproof_core PUBLIC Threads::Threads)
target_include_directories(
  edgeproof_core PUBLIC $<BUILD_INTERFACE:${core_dir}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set_target_properties(
  edgeproof_core PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden EXPORT_NAME core)
