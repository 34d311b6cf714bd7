#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>

#include "fake_nvidia.h"

namespace {

using Work = std::function<void()>;

struct Memory {
    std::string kind;
    std::size_t size_bytes;
    char *host;    ///< address for the CPU; of device memory only the fake's
    char *device;  ///< address for the GPU; nullptr if it has none
};

std::vector<Memory> memory;
std::size_t others = 0;  // live streams, graphs and objects of TensorRT

std::size_t whole_pages(std::size_t size_bytes) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return (size_bytes + page - 1) / page * page;
}

/// Memory with one address for the CPU and another for the GPU.
Memory twice(const std::string &kind, std::size_t size_bytes) {
    const int file = ::memfd_create("fake", 0);
    const std::size_t size = whole_pages(size_bytes);
    if (file < 0 || ::ftruncate(file, static_cast<off_t>(size)) != 0) std::abort();
    void *views[2];
    for (void *&view : views) {
        view = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (view == MAP_FAILED) std::abort();
    }
    ::close(file);
    return {kind, size_bytes, static_cast<char *>(views[0]), static_cast<char *>(views[1])};
}

Memory *find(const void *address, char *Memory::*side) {
    const char *at = static_cast<const char *>(address);
    for (Memory &one : memory)
        if (one.*side != nullptr && at >= one.*side && at < one.*side + one.size_bytes) return &one;
    return nullptr;
}

cudaError_t free_at(void *address, char *Memory::*side, bool host_allocated) {
    if (address == nullptr) return cudaSuccess;
    for (auto one = memory.begin(); one != memory.end(); ++one) {
        const bool of_host = one->kind == "pinned" || one->kind == "mapped";
        if (*one.*side != address || of_host != host_allocated) continue;
        ::munmap(one->host, whole_pages(one->size_bytes));
        if (one->device != nullptr && one->device != one->host) ::munmap(one->device, whole_pages(one->size_bytes));
        memory.erase(one);
        return cudaSuccess;
    }
    ++nvidia().faults;
    return cudaErrorInvalidValue;
}

/// Count a call, and say whether it shall fail.
cudaError_t called(const char *function) {
    ++nvidia().calls[function];
    if (const auto once = nvidia().fails_once.find(function); once != nvidia().fails_once.end()) {
        const cudaError_t error = once->second;
        nvidia().fails_once.erase(once);
        return error;
    }
    const auto found = nvidia().fails.find(function);
    return found == nvidia().fails.end() ? cudaSuccess : found->second;
}

}  // namespace

struct FakeStream {
    std::vector<Work> waiting;
    std::vector<Work> captured;
    bool capturing = false;
    bool invalid = false;  ///< something that a capture forbids was done during it
};
struct FakeGraph {
    std::vector<Work> work;
};
struct FakeGraphExec {
    std::vector<Work> work;
};

std::size_t FakeNvidia::live() { return memory.size() + others; }

FakeNvidia &nvidia() {
    static FakeNvidia one;
    return one;
}

namespace fake {

std::string kind_of(const void *device, std::size_t *size_bytes) {
    const Memory *found = find(device, &Memory::device);
    if (found == nullptr) return {};
    if (size_bytes != nullptr)
        *size_bytes = found->size_bytes - static_cast<std::size_t>(static_cast<const char *>(device) - found->device);
    return found->kind;
}

void *behind(const void *device) {
    const Memory *found = find(device, &Memory::device);
    return found == nullptr ? nullptr : found->host + (static_cast<const char *>(device) - found->device);
}

void enqueue(cudaStream_t stream, void (*work)(void *), void *argument) {
    (stream->capturing ? stream->captured : stream->waiting).emplace_back([=] { work(argument); });
}

bool is_capturing(cudaStream_t stream) { return stream->capturing; }
void object_made() { ++others; }
void object_gone() { --others; }

}  // namespace fake

extern "C" {

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
    const FakeNvidia &gpu = nvidia();
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount: *value = gpu.multiprocessors; break;
        case cudaDevAttrIntegrated: *value = gpu.integrated; break;
        case cudaDevAttrComputeCapabilityMajor: *value = gpu.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = gpu.minor; break;
        case cudaDevAttrConcurrentManagedAccess: *value = gpu.concurrent_managed; break;
    }
    return called("cudaDeviceGetAttribute");
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = nvidia().driver_cuda;
    return called("cudaDriverGetVersion");
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = nvidia().runtime_cuda;
    return called("cudaRuntimeGetVersion");
}

cudaError_t cudaGetDeviceCount(int *count) {
    *count = nvidia().devices;
    return called("cudaGetDeviceCount");
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int) {
    std::strncpy(properties->name, nvidia().name.c_str(), sizeof properties->name - 1);
    return called("cudaGetDeviceProperties");
}

cudaError_t cudaMemGetInfo(std::size_t *free_bytes, std::size_t *total_bytes) {
    *total_bytes = nvidia().memory_bytes;
    *free_bytes = *total_bytes / 2;
    return called("cudaMemGetInfo");
}

const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
        case cudaErrorNoDevice: return "cudaErrorNoDevice";
        case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
        default: return "cudaErrorOther";
    }
}

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorNoDevice: return "no CUDA-capable device is detected";
        case cudaErrorLaunchFailure: return "unspecified launch failure";
        case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
        default: return "another error";
    }
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaMalloc(void **address, std::size_t size_bytes) {
    if (const cudaError_t error = called("cudaMalloc")) return error;
    memory.push_back(twice("device", size_bytes));
    *address = memory.back().device;
    return cudaSuccess;
}

cudaError_t cudaMallocManaged(void **address, std::size_t size_bytes, unsigned int) {
    if (const cudaError_t error = called("cudaMallocManaged")) return error;
    Memory made = twice("managed", size_bytes);
    ::munmap(made.device, whole_pages(size_bytes));
    made.device = made.host;
    memory.push_back(made);
    *address = made.host;
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **address, std::size_t size_bytes, unsigned int flags) {
    if (const cudaError_t error = called("cudaHostAlloc")) return error;
    const bool mapped = flags == cudaHostAllocMapped;
    Memory made = twice(mapped ? "mapped" : "pinned", size_bytes);
    if (!mapped) {
        ::munmap(made.device, whole_pages(size_bytes));
        made.device = nullptr;
    }
    memory.push_back(made);
    *address = made.host;
    return cudaSuccess;
}

cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned int) {
    if (const cudaError_t error = called("cudaHostGetDevicePointer")) return error;
    const Memory *found = find(host, &Memory::host);
    if (found == nullptr || found->kind != "mapped") return cudaErrorInvalidValue;
    *device = found->device;
    return cudaSuccess;
}

cudaError_t cudaFree(void *address) { return free_at(address, &Memory::device, false); }
cudaError_t cudaFreeHost(void *address) { return free_at(address, &Memory::host, true); }

cudaError_t cudaMemcpyAsync(void *target, const void *source, std::size_t size_bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    if (const cudaError_t error = called("cudaMemcpyAsync")) return error;
    const auto work = [=] {
        const bool up = kind == cudaMemcpyHostToDevice;
        const void *device = up ? target : source;
        const void *host = up ? source : target;
        std::size_t room = 0;
        if (fake::kind_of(device, &room).empty() || room < size_bytes || find(host, &Memory::host) == nullptr) {
            ++nvidia().faults;
            return;
        }
        std::memcpy(up ? fake::behind(target) : target, up ? source : fake::behind(source), size_bytes);
    };
    (stream->capturing ? stream->captured : stream->waiting).emplace_back(work);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int) {
    if (const cudaError_t error = called("cudaStreamCreateWithFlags")) return error;
    *stream = new FakeStream;
    ++others;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    const cudaError_t error = called("cudaStreamSynchronize");
    if (stream->capturing) {
        stream->invalid = true;
        return cudaErrorStreamCaptureUnsupported;
    }
    for (const Work &work : std::exchange(stream->waiting, {})) work();
    return error;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    nvidia().faults += stream->capturing;
    delete stream;
    --others;
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    if (const cudaError_t error = called("cudaStreamBeginCapture")) return error;
    stream->capturing = true;
    stream->invalid = false;
    stream->captured.clear();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = nullptr;
    if (!stream->capturing) return cudaErrorInvalidValue;
    stream->capturing = false;
    if (const cudaError_t error = called("cudaStreamEndCapture")) return error;
    if (stream->invalid) return cudaErrorStreamCaptureInvalidated;
    *graph = new FakeGraph{std::move(stream->captured)};
    ++others;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *made, cudaGraph_t graph, unsigned long long) {
    if (const cudaError_t error = called("cudaGraphInstantiateWithFlags")) return error;
    *made = new FakeGraphExec{graph->work};
    ++others;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
    if (const cudaError_t error = called("cudaGraphLaunch")) return error;
    stream->waiting.insert(stream->waiting.end(), graph->work.begin(), graph->work.end());
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    --others;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    delete graph;
    --others;
    return cudaSuccess;
}
}
