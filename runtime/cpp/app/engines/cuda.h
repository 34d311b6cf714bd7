#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace edgeproof::app::cuda {

/// Throw `Failure` (unavailable): "could not " and what, and CUDA's words.
void check(cudaError_t error, const char *what);

/// The GPU that engines run on.
struct Gpu {
    std::string name;
    std::string compute_capability;   ///< such as "8.7"
    std::string identity;             ///< `gpu_identity` of it
    bool integrated = false;          ///< it has the CPU's memory (Jetson)
    bool concurrent_managed = false;  ///< the CPU may touch managed memory while the GPU runs
    std::string driver_cuda;          ///< newest CUDA version that the driver supports, such as "13.0"
};

/// Describe the first GPU. Throws `Failure` (unavailable): no driver, a driver that is too old, or no GPU.
Gpu find_gpu();

/// How the GPU gets at the host's memory: pinned memory is copied to it, the others are read in place.
enum class MemoryKind { pinned, mapped, managed };

const char *name_of(MemoryKind kind);

/// The kinds that may be the fastest on a GPU, the likeliest first. The same as `memory_kinds` in Python.
std::vector<MemoryKind> memory_kinds(const Gpu &gpu);

/// Time of a run with each kind, ms, in the order of `memory_kinds`.
using MemoryTimes = std::vector<std::pair<MemoryKind, double>>;

/// The kind to use: the likeliest, unless another is clearly faster.
MemoryKind fastest(const MemoryTimes &times_ms);

/// Memory of the GPU.
class DeviceMemory {
  public:
    explicit DeviceMemory(std::size_t size_bytes) {
        check(cudaMalloc(&address_, size_bytes), "allocate memory of the GPU");
    }
    ~DeviceMemory() { cudaFree(address_); }

    DeviceMemory(const DeviceMemory &) = delete;
    DeviceMemory &operator=(const DeviceMemory &) = delete;

    void *address() const { return address_; }

  private:
    void *address_ = nullptr;
};

/// One tensor on host and GPU; the two are one if they share their memory.
class Buffer {
  public:
    Buffer(std::size_t size_bytes, MemoryKind kind);
    ~Buffer();

    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;

    void *host() const { return host_; }
    void *device() const { return device_; }

    /// Enqueue the copy to the GPU, if one is required.
    void copy_in(cudaStream_t stream) const;
    /// Enqueue the copy to the host, if one is required.
    void copy_out(cudaStream_t stream) const;

  private:
    std::size_t size_bytes_;
    MemoryKind kind_;
    void *host_ = nullptr;
    void *device_ = nullptr;
};

/// A stream, and the graph captured on it.
class Stream {
  public:
    Stream() { check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "create a stream"); }
    ~Stream() {
        drop_graph();
        cudaStreamDestroy(handle);
    }

    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;

    /// Wait for work in flight, and destroy the graph.
    void drop_graph();

    cudaStream_t handle = nullptr;
    cudaGraphExec_t graph = nullptr;
};

}  // namespace edgeproof::app::cuda
