#include "engines/cuda.h"

#include <algorithm>
#include <cstring>

#include "edgeproof/engine_record.h"
#include "edgeproof/failure.h"
#include "system/host.h"

namespace edgeproof::app::cuda {
namespace {

std::string version_text(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);  // 12.6 is 12060
}

/// CUDA answers cudaErrorInsufficientDriver without a driver, too, and then 0 for its version.
Failure no_gpu(cudaError_t error) {
    int driver = 0;
    int own = 0;
    if (cudaDriverGetVersion(&driver) == cudaSuccess && cudaRuntimeGetVersion(&own) == cudaSuccess && driver > 0 &&
        driver / 1000 < own / 1000) {
        const std::string supported = version_text(driver);
        return unavailable("CUDA: the driver is too old for this program",
                           "it supports CUDA " + supported + ", the program uses " + version_text(own), {},
                           "install a newer driver, or build edgeproof-run with CUDA " + supported);
    }
    return unavailable("CUDA: no usable GPU found", error == cudaSuccess ? "no device" : cudaGetErrorString(error), {},
                       "install NVIDIA's driver; in a container, pass the GPU through (--gpus all)");
}

int attribute(cudaDeviceAttr which) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, 0), "ask the GPU for its properties");
    return value;
}

}  // namespace

void check(cudaError_t error, const char *what) {
    if (error == cudaSuccess) return;
    cudaGetLastError();
    throw unavailable(std::string("CUDA: could not ") + what,
                      std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error));
}

Gpu find_gpu() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0) {
        cudaGetLastError();
        throw no_gpu(error);
    }
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, 0), "ask the GPU for its properties");
    std::size_t free_bytes = 0;
    std::size_t total_bytes = 0;
    check(cudaMemGetInfo(&free_bytes, &total_bytes), "ask the GPU for its memory");
    int driver = 0;
    check(cudaDriverGetVersion(&driver), "ask for the driver's version");
    Gpu gpu;
    gpu.name = properties.name;
    gpu.compute_capability = std::to_string(attribute(cudaDevAttrComputeCapabilityMajor)) + "." +
                             std::to_string(attribute(cudaDevAttrComputeCapabilityMinor));
    gpu.integrated = attribute(cudaDevAttrIntegrated) != 0;
    gpu.concurrent_managed = attribute(cudaDevAttrConcurrentManagedAccess) != 0;
    gpu.identity = gpu_identity(gpu.name, attribute(cudaDevAttrMultiProcessorCount), total_bytes,
                                gpu.integrated ? jetson_board() : std::string());
    gpu.driver_cuda = version_text(driver);
    return gpu;
}

const char *name_of(MemoryKind kind) {
    switch (kind) {
        case MemoryKind::pinned: return "pinned";
        case MemoryKind::mapped: return "mapped";
        case MemoryKind::managed: return "managed";
    }
    return "unknown";
}

std::vector<MemoryKind> memory_kinds(const Gpu &gpu) {
    // Where the GPU has the CPU's memory it depends on the model: on Orin the CPU caches mapped memory and the GPU does
    // not. Managed memory is left out where the CPU must not touch it while any kernel runs.
    if (!gpu.integrated) return {MemoryKind::pinned};
    if (!gpu.concurrent_managed) return {MemoryKind::mapped, MemoryKind::pinned};
    return {MemoryKind::mapped, MemoryKind::pinned, MemoryKind::managed};
}

MemoryKind fastest(const MemoryTimes &times_ms) {
    constexpr double share = 0.95;  // of the likeliest kind's time, and less than it by so many ms: the rest is noise
    constexpr double less_ms = 0.02;
    const auto [usual, usual_ms] = times_ms.front();
    const auto best = std::min_element(times_ms.begin(), times_ms.end(),
                                       [](const auto &a, const auto &b) { return a.second < b.second; });
    return best->second > std::min(share * usual_ms, usual_ms - less_ms) ? usual : best->first;
}

Buffer::Buffer(std::size_t size_bytes, MemoryKind kind) : size_bytes_(size_bytes), kind_(kind) {
    if (kind == MemoryKind::managed) {
        check(cudaMallocManaged(&host_, size_bytes, cudaMemAttachGlobal), "allocate managed memory");
        device_ = host_;
    } else {
        const bool mapped = kind == MemoryKind::mapped;
        check(cudaHostAlloc(&host_, size_bytes, mapped ? cudaHostAllocMapped : cudaHostAllocDefault),
              "allocate page-locked memory");
        const cudaError_t error =
            mapped ? cudaHostGetDevicePointer(&device_, host_, 0) : cudaMalloc(&device_, size_bytes);
        if (error != cudaSuccess) cudaFreeHost(host_);
        check(error, mapped ? "map page-locked memory" : "allocate memory of the GPU");
    }
    std::memset(host_, 0, size_bytes);
}

Buffer::~Buffer() {
    if (kind_ == MemoryKind::pinned) cudaFree(device_);
    if (kind_ == MemoryKind::managed) {
        cudaFree(host_);
    } else {
        cudaFreeHost(host_);
    }
}

void Buffer::copy_in(cudaStream_t stream) const {
    if (kind_ != MemoryKind::pinned) return;
    check(cudaMemcpyAsync(device_, host_, size_bytes_, cudaMemcpyHostToDevice, stream), "copy the input");
}

void Buffer::copy_out(cudaStream_t stream) const {
    if (kind_ != MemoryKind::pinned) return;
    check(cudaMemcpyAsync(host_, device_, size_bytes_, cudaMemcpyDeviceToHost, stream), "copy the output");
}

void Stream::drop_graph() {
    cudaStreamSynchronize(handle);
    cudaGetLastError();
    if (graph != nullptr) cudaGraphExecDestroy(graph);
    graph = nullptr;
}

}  // namespace edgeproof::app::cuda
