#pragma once

// The CUDA kernels as functions of the CPU: every thread of a grid runs, one after the other.

#define __global__
#define __host__
#define __device__

struct ThreadPlace {
    unsigned x, y, z;
};
static ThreadPlace threadIdx, blockIdx, blockDim, gridDim;

#include <cstring>

#include "../../core/src/gpu_kernels.cu"

using GpuKernel = void (*)(GpuJob);

/// `grid` and `block` are three numbers each; `job` points to a GpuJob.
static void run_on_host(GpuKernel kernel, const unsigned *grid, const unsigned *block, const void *job_bytes) {
    GpuJob job;
    std::memcpy(&job, job_bytes, sizeof job);
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
                for (threadIdx.z = 0; threadIdx.z < blockDim.z; ++threadIdx.z)
                    for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)
                        for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) kernel(job);
}

#define EDGEPROOF_FIRST_PASSES(name) {"first_x_" #name, first_x_##name}, {"first_y_" #name, first_y_##name},

static const struct {
    const char *name;
    GpuKernel kernel;
} gpu_kernels[] = {
    EDGEPROOF_FIRST_PASSES(rgb) EDGEPROOF_FIRST_PASSES(rgb_luma) EDGEPROOF_FIRST_PASSES(many_uint8)
        EDGEPROOF_FIRST_PASSES(many_uint16) EDGEPROOF_FIRST_PASSES(many_float32) EDGEPROOF_FIRST_PASSES(nv12)
            EDGEPROOF_FIRST_PASSES(nv12_luma) EDGEPROOF_FIRST_PASSES(i420) EDGEPROOF_FIRST_PASSES(i420_luma)
                EDGEPROOF_FIRST_PASSES(yuyv) EDGEPROOF_FIRST_PASSES(yuyv_luma){"second_y_narrow", second_y_narrow},
    {"second_x_narrow", second_x_narrow},
    {"second_y_wide", second_y_wide},
    {"second_x_wide", second_x_wide},
};

/// False if there is no kernel of this name.
extern "C" bool run_kernel_on_host(const char *name, const unsigned *grid, const unsigned *block, const void *job) {
    for (const auto &known : gpu_kernels)
        if (std::strcmp(known.name, name) == 0) {
            run_on_host(known.kernel, grid, block, job);
            return true;
        }
    return false;
}
