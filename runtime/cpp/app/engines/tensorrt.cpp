#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <mutex>
#include <type_traits>
#include <utility>

#include "edgeproof/engine_record.h"
#include "edgeproof/failure.h"
#include "engines/catalog.h"

namespace edgeproof::app {
namespace {

void check(cudaError_t error, const char *what) {
    if (error == cudaSuccess) return;
    cudaGetLastError();
    throw unavailable(std::string("CUDA: could not ") + what,
                      std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error));
}

/// Keeps TensorRT's errors for the next message; the rest of its log is dropped.
class ErrorLog : public nvinfer1::ILogger {
  public:
    void log(Severity severity, const char *message) noexcept override {
        if (severity > Severity::kERROR) return;
        const std::lock_guard<std::mutex> lock(mutex_);
        if (errors_.size() < max_bytes) errors_ += (errors_.empty() ? "" : "; ") + std::string(message);
    }

    std::string take() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return std::exchange(errors_, {});
    }

  private:
    static constexpr std::size_t max_bytes = 4096;
    std::mutex mutex_;
    std::string errors_;
};

/// One tensor on host and GPU; the two are one if they share their memory.
class Buffer {
  public:
    Buffer(std::size_t size_bytes, bool shared) : size_bytes_(size_bytes), shared_(shared) {
        check(cudaHostAlloc(&host_, size_bytes, shared ? cudaHostAllocMapped : cudaHostAllocDefault),
              "allocate page-locked memory");
        const cudaError_t error =
            shared ? cudaHostGetDevicePointer(&device_, host_, 0) : cudaMalloc(&device_, size_bytes);
        if (error != cudaSuccess) cudaFreeHost(host_);
        check(error, "allocate memory of the GPU");
    }

    ~Buffer() {
        if (!shared_) cudaFree(device_);
        cudaFreeHost(host_);
    }

    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;

    void *host() const { return host_; }
    void *device() const { return device_; }

    void copy_in(cudaStream_t stream) const {
        if (shared_) return;
        check(cudaMemcpyAsync(device_, host_, size_bytes_, cudaMemcpyHostToDevice, stream), "copy the input");
    }

    void copy_out(cudaStream_t stream) const {
        if (shared_) return;
        check(cudaMemcpyAsync(host_, device_, size_bytes_, cudaMemcpyDeviceToHost, stream), "copy the output");
    }

  private:
    std::size_t size_bytes_;
    bool shared_;
    void *host_ = nullptr;
    void *device_ = nullptr;
};

/// A stream, and the graph captured on it.
class Stream {
  public:
    Stream() { check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "create a stream"); }

    ~Stream() {
        cudaStreamSynchronize(handle);
        if (graph != nullptr) cudaGraphExecDestroy(graph);
        cudaStreamDestroy(handle);
    }

    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;

    cudaStream_t handle = nullptr;
    cudaGraphExec_t graph = nullptr;
};

cudaDeviceProp gpu() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0) {
        cudaGetLastError();
        throw unavailable("CUDA: no usable GPU found", error == cudaSuccess ? "no device" : cudaGetErrorString(error),
                          {}, "install NVIDIA's driver; in a container, pass the GPU through (--gpus all)");
    }
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, 0), "ask the GPU for its properties");
    return properties;
}

/// (major, minor, patch) of the library that is loaded, which may be newer than the headers.
std::vector<int> library_version() {
    const int version = getInferLibVersion();
    if (version >= 100'000) return {version / 10'000, version / 100 % 100, version % 100};  // 10.3.0 is 100300
    return {version / 1000, version / 100 % 10, version % 100};                             // 8.6.1 is 8601
}

std::string text_of(const std::vector<int> &version) {
    std::string text;
    for (const int number : version) text += (text.empty() ? "" : ".") + std::to_string(number);
    return text;
}

nvinfer1::DataType type_of(DType dtype) {
    switch (dtype) {
        case DType::float32: return nvinfer1::DataType::kFLOAT;
        case DType::float16: return nvinfer1::DataType::kHALF;
        case DType::uint8: return nvinfer1::DataType::kUINT8;
    }
    throw bad_input("input: unknown dtype");
}

class TensorRtEngine : public Engine {
  public:
    explicit TensorRtEngine(const ModelArtifact &model)
        : gpu_(gpu()), compiled_(find_compiled(model, library_version(),
                                               std::to_string(gpu_.major) + "." + std::to_string(gpu_.minor))),
          input_name_(model.bundle.input_name), outputs_(model.bundle.outputs.size()) {
        deserialize();
        set_up_input(model);
        set_up_outputs(model.bundle);
        // The first run makes kernels and the second captures the graph, before a frame arrives.
        run();
        run();
    }

    EngineInfo describe() const override { return {"tensorrt", text_of(library_version()), gpu_.name, std::nullopt}; }

    void *input() override { return input_->host(); }

    void run() override {
        input_->copy_in(stream_.handle);
        compute();
        for (const auto &output : outputs_) output->copy_out(stream_.handle);
        check(cudaStreamSynchronize(stream_.handle), "run the model");
    }

    const float *output(std::size_t index) const override {
        return static_cast<const float *>(outputs_[index]->host());
    }

  private:
    void deserialize() {
        runtime_.reset(nvinfer1::createInferRuntime(log_));
        if (!runtime_) throw unavailable("tensorrt: does not start", log_.take());
        if (compiled_.version_compatible) runtime_->setEngineHostCodeAllowed(true);
        if (compiled_.dla_core >= 0) runtime_->setDLACore(compiled_.dla_core);
        engine_.reset(runtime_->deserializeCudaEngine(compiled_.plan.data(), compiled_.plan.size()));
        compiled_.plan = {};
        if (!engine_) throw unavailable(compiled_.name + ": rejected by tensorrt", log_.take());
        context_.reset(engine_->createExecutionContext());
        if (!context_)
            throw unavailable("tensorrt: could not create an execution context", log_.take(), {}, "free GPU memory");
    }

    void set_up_input(const ModelArtifact &model) {
        const char *name = input_name_.c_str();
        if (engine_->getTensorIOMode(name) != nvinfer1::TensorIOMode::kINPUT ||
            engine_->getTensorDataType(name) != type_of(model.input_dtype())) {
            throw bad_input(compiled_.name + ": its input does not match the model's", {}, input_name_);
        }
        nvinfer1::Dims shape{};
        for (const std::int64_t side : model.input_shape())
            shape.d[shape.nbDims++] = static_cast<std::remove_reference_t<decltype(shape.d[0])>>(side);
        if (!context_->setInputShape(name, shape)) {
            throw bad_input(compiled_.name + ": unsupported batch size 1", log_.take(), {},
                            "edgeproof compile BUNDLE --target tensorrt --batch 1,OPT,MAX");
        }
        input_ = std::make_unique<Buffer>(model.input_bytes(), gpu_.integrated != 0);
        bind(name, *input_);
    }

    void set_up_outputs(const Bundle &bundle) {
        for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
            const char *name = engine_->getIOTensorName(i);
            if (engine_->getTensorIOMode(name) != nvinfer1::TensorIOMode::kOUTPUT) continue;
            const nvinfer1::Dims shape = context_->getTensorShape(name);
            std::int64_t count = 1;
            for (std::int32_t axis = 0; axis < shape.nbDims; ++axis) count *= shape.d[axis];
            if (shape.nbDims < 0 || count < 1)
                throw bad_input(compiled_.name + ": unsupported output of unknown size", name);
            const auto named = std::find_if(bundle.outputs.begin(), bundle.outputs.end(),
                                            [name](const OutputEntry &output) { return output.name == name; });
            const auto index = static_cast<std::size_t>(named - bundle.outputs.begin());
            const bool read = named != bundle.outputs.end();
            const auto values = static_cast<std::size_t>(count);
            const bool is_float = engine_->getTensorDataType(name) == nvinfer1::DataType::kFLOAT;
            if (read && !(is_float && values == bundle.output_size(index))) break;
            // The other outputs are not read, but TensorRT writes them: 8 bytes hold a value of any of its types.
            auto buffer = std::make_unique<Buffer>(values * (read ? sizeof(float) : 8), gpu_.integrated != 0);
            bind(name, *buffer);
            (read ? outputs_[index] : unread_.emplace_back()) = std::move(buffer);
        }
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            if (outputs_[i]) continue;
            throw bad_input(
                compiled_.name + ": an output does not match the manifest", {},
                bundle.outputs[i].name + ", " + std::to_string(bundle.output_size(i)) + " values of float32");
        }
    }

    void bind(const char *name, const Buffer &buffer) {
        if (!context_->setTensorAddress(name, buffer.device()))
            throw unavailable("tensorrt: rejected the memory of " + std::string(name), log_.take());
    }

    void compute() {
        if (ran_ && may_capture_ && stream_.graph == nullptr) capture();
        if (stream_.graph != nullptr) {
            check(cudaGraphLaunch(stream_.graph, stream_.handle), "launch the graph");
            return;
        }
        if (!context_->enqueueV3(stream_.handle)) throw unavailable("tensorrt: could not run the model", log_.take());
        ran_ = true;
    }

    /// Some layers synchronise, which a capture forbids; a plain launch then does the same work.
    void capture() {
        may_capture_ = false;
        check(cudaStreamSynchronize(stream_.handle), "finish the copy");
        if (cudaStreamBeginCapture(stream_.handle, cudaStreamCaptureModeThreadLocal) != cudaSuccess) return;
        const bool enqueued = context_->enqueueV3(stream_.handle);
        cudaGraph_t graph = nullptr;
        const bool captured = cudaStreamEndCapture(stream_.handle, &graph) == cudaSuccess && enqueued;
        if (captured && cudaGraphInstantiateWithFlags(&stream_.graph, graph, 0) != cudaSuccess) stream_.graph = nullptr;
        if (graph != nullptr) cudaGraphDestroy(graph);
        cudaGetLastError();
        log_.take();
    }

    // Destroyed from the last to the first: a context must not outlive its engine, nor an engine its runtime.
    ErrorLog log_;
    cudaDeviceProp gpu_;
    CompiledEngine compiled_;
    std::string input_name_;
    std::unique_ptr<Buffer> input_;
    std::vector<std::unique_ptr<Buffer>> outputs_;
    std::vector<std::unique_ptr<Buffer>> unread_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    Stream stream_;
    bool ran_ = false;
    bool may_capture_ = true;
};

}  // namespace

std::string tensorrt_version() { return text_of(library_version()); }

std::unique_ptr<Engine> load_tensorrt(const ModelArtifact &model) { return std::make_unique<TensorRtEngine>(model); }

}  // namespace edgeproof::app
