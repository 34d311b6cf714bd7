// The CUDA kernels of the contract's preprocessing: a first pass from the frame into scratch memory, and a second into
// the tensor. Which two a frame needs, and their grids, is said by edgeproof/gpu_plan.h.

#include "gpu_passes.h"

using namespace edgeproof::detail;

// A block is 32 x 8 threads. Grids are no taller than CUDA allows, so each thread goes down in steps.

#define FIRST_PASS(name, Source)                                                                            \
    extern "C" __global__ void first_x_##name(const GpuJob job) {                                           \
        const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);                              \
        if (i >= job.x.outputs) return;                                                                     \
        const int step = static_cast<int>(gridDim.y * blockDim.y);                                          \
        for (int r = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y); r < job.row_count; r += step) \
            first_pass<Source, true>(job, job.x, i, r, static_cast<int>(blockIdx.z),                        \
                                     static_cast<long long>(r) * job.x.outputs + i);                        \
    }                                                                                                       \
    extern "C" __global__ void first_y_##name(const GpuJob job) {                                           \
        const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);                              \
        if (x >= job.columns) return;                                                                       \
        const int step = static_cast<int>(gridDim.y * blockDim.y);                                          \
        for (int i = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y); i < job.y.outputs; i += step) \
            first_pass<Source, false>(job, job.y, i, x, static_cast<int>(blockIdx.z),                       \
                                      static_cast<long long>(i) * job.columns + x);                         \
    }

#define SECOND_PASS(name, Value, along_y)                                                                \
    extern "C" __global__ void second_##name(const GpuJob job) {                                         \
        const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);                           \
        if (x >= job.width) return;                                                                      \
        const int step = static_cast<int>(gridDim.y * blockDim.y);                                       \
        for (int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y); y < job.height; y += step) \
            second_pass<Value, along_y>(job, x, y, static_cast<int>(blockIdx.z));                        \
    }

FIRST_PASS(rgb, Rgb3)
FIRST_PASS(rgb_luma, LumaOf<Rgb3>)
FIRST_PASS(many_uint8, Many<unsigned char>)
FIRST_PASS(many_uint16, Many<unsigned short>)
FIRST_PASS(many_float32, Many<float>)
FIRST_PASS(nv12, Nv12)
FIRST_PASS(nv12_luma, LumaOf<Nv12>)
FIRST_PASS(i420, I420)
FIRST_PASS(i420_luma, LumaOf<I420>)
FIRST_PASS(yuyv, Yuyv)
FIRST_PASS(yuyv_luma, LumaOf<Yuyv>)

SECOND_PASS(y_narrow, unsigned char, true)
SECOND_PASS(x_narrow, unsigned char, false)
SECOND_PASS(y_wide, float, true)
SECOND_PASS(x_wide, float, false)
