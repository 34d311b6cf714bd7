#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "NvInferRuntime.h"

/// A GPU and a TensorRT that need neither: what a test sets them to, and what was done with them.
///
/// Work of a stream waits for `cudaStreamSynchronize`. Host and device have different addresses, also where mapped
/// memory is one; a kernel or copy that gets an address of the wrong side, or freed memory, is counted as a fault.
/// The network's first output is the sum of the values at even positions and that of the others.
struct FakeNvidia {
    struct Tensor {
        std::string name;
        bool input;
        nvinfer1::DataType type;
        std::vector<std::int64_t> shape;  ///< -1 where only a run tells
    };

    // The GPU
    int devices = 1;
    std::string name = "Orin";
    int major = 8;
    int minor = 7;
    int multiprocessors = 16;
    std::size_t memory_bytes = std::size_t(8) << 30;
    bool integrated = false;
    bool concurrent_managed = false;
    int driver_cuda = 12060;
    int runtime_cuda = 12060;
    std::map<std::string, double> slow_ms;         ///< that a run takes longer, by the kind of its input's memory
    std::map<std::string, cudaError_t> fails;      ///< by function, every call
    std::map<std::string, cudaError_t> fails_once;  ///< by function, the next call

    // TensorRT
    int version = 100300;
    std::vector<Tensor> tensors = {{"input", true, nvinfer1::DataType::kFLOAT, {1, 3, 8, 8}},
                                   {"logits", false, nvinfer1::DataType::kFLOAT, {1, 2}}};
    std::int64_t smallest_batch = 1;
    std::int64_t largest_batch = 8;
    std::int64_t bound_bytes = 64;   ///< of an output whose size only a run tells; -1 without
    bool capturable = true;
    bool starts = true;
    bool plugins_register = true;
    bool has_context = true;
    bool takes_addresses = true;
    std::string refusal;     ///< TensorRT's error when it reads a plan
    std::string run_error;   ///< and when it is asked to run
    std::vector<std::string> warnings;  ///< when it reads a plan

    // What was done
    std::vector<std::string> events;    ///< "plugins", "runtime", "plan", in their order
    std::map<std::string, int> calls;   ///< by function of CUDA; "enqueueV3" of TensorRT
    std::vector<nvinfer1::ILogger *> loggers;
    std::vector<void *> addresses;      ///< that the last run used, in the order of `tensors`
    bool host_code_allowed = false;
    int dla_core = -1;
    int faults = 0;

    /// Allocations, streams, graphs and objects of TensorRT that were not freed.
    static std::size_t live();
};

FakeNvidia &nvidia();

namespace fake {

/// Kind of the memory at a device address, "device", "mapped" or "managed", and its size from there; empty for others.
std::string kind_of(const void *device, std::size_t *size_bytes = nullptr);
/// Host memory behind a device address.
void *behind(const void *device);
/// Put work into a stream: it runs when the stream is synchronised, or belongs to the graph that is captured.
void enqueue(cudaStream_t stream, void (*work)(void *), void *argument);
bool is_capturing(cudaStream_t stream);
void object_made();
void object_gone();

}  // namespace fake
