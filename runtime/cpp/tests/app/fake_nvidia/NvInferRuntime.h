#pragma once

// Declarations of TensorRT, only those that edgeproof-run uses: their names, arguments and meaning are from NVIDIA's
// documentation. `fake_tensorrt.cpp` defines them for the tests. The layout of these classes is not TensorRT's.

#include <cstddef>
#include <cstdint>

#include "cuda_runtime_api.h"

namespace nvinfer1 {

enum class DataType { kFLOAT, kHALF, kINT8, kINT32, kBOOL, kUINT8, kFP8, kBF16, kINT64 };
enum class TensorIOMode { kNONE, kINPUT, kOUTPUT };
enum class OptProfileSelector { kMIN, kOPT, kMAX };

struct Dims {
    std::int32_t nbDims;
    std::int64_t d[8];
};

class ILogger {
  public:
    enum class Severity { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };

    virtual ~ILogger() = default;
    virtual void log(Severity severity, const char *message) noexcept = 0;
};

class IExecutionContext {
  public:
    virtual ~IExecutionContext() = default;
    virtual bool setInputShape(const char *name, const Dims &shape) = 0;
    virtual Dims getTensorShape(const char *name) const = 0;
    virtual std::int64_t getMaxOutputSize(const char *name) const = 0;
    virtual bool setTensorAddress(const char *name, void *address) = 0;
    virtual bool enqueueV3(cudaStream_t stream) = 0;
};

class ICudaEngine {
  public:
    virtual ~ICudaEngine() = default;
    virtual std::int32_t getNbIOTensors() const = 0;
    virtual const char *getIOTensorName(std::int32_t index) const = 0;
    virtual TensorIOMode getTensorIOMode(const char *name) const = 0;
    virtual DataType getTensorDataType(const char *name) const = 0;
    virtual Dims getProfileShape(const char *name, std::int32_t profile, OptProfileSelector which) const = 0;
    virtual IExecutionContext *createExecutionContext() = 0;
};

class IRuntime {
  public:
    virtual ~IRuntime() = default;
    virtual void setEngineHostCodeAllowed(bool allowed) = 0;
    virtual void setDLACore(std::int32_t core) = 0;
    virtual ICudaEngine *deserializeCudaEngine(const void *plan, std::size_t size_bytes) = 0;
};

IRuntime *createInferRuntime(ILogger &logger);

}  // namespace nvinfer1

extern "C" std::int32_t getInferLibVersion() noexcept;
