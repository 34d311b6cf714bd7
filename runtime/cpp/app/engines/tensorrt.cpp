#include <NvInferRuntime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <type_traits>
#include <utility>

#include "edgeproof/engine_record.h"
#include "edgeproof/failure.h"
#include "engines/catalog.h"
#include "engines/cuda.h"
#include "engines/tensorrt_log.h"

namespace edgeproof::app {
namespace {

using cuda::Buffer;
using cuda::check;
using cuda::DeviceMemory;
using cuda::MemoryKind;

constexpr std::size_t most_item_bytes = 8;  // of any of TensorRT's types
constexpr int timed_runs = 10;
constexpr const char *batch_fix = "edgeproof compile BUNDLE --target tensorrt --batch 1,OPT,MAX";

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

/// Number of values; -1 while a side is unknown.
std::int64_t size_of(const nvinfer1::Dims &shape) {
    std::int64_t count = shape.nbDims < 0 ? -1 : 1;
    for (std::int32_t axis = 0; axis < shape.nbDims; ++axis)
        count = count < 0 || shape.d[axis] < 0 ? -1 : count * static_cast<std::int64_t>(shape.d[axis]);
    return count;
}

/// In the words of the Python engine's details.
std::string described(MemoryKind kind) {
    switch (kind) {
        case MemoryKind::pinned: return "pinned host memory";
        case MemoryKind::mapped: return "shared with the host, no copies";
        case MemoryKind::managed: return "managed, no copies";
    }
    return cuda::name_of(kind);
}

std::string to_text(double ms) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3f ms", ms);
    return text;
}

class TensorRtEngine : public Engine {
  public:
    explicit TensorRtEngine(const ModelArtifact &model)
        : gpu_(cuda::find_gpu()),
          compiled_(find_compiled(model, library_version(), {gpu_.compute_capability, gpu_.identity})),
          input_name_(model.bundle.input_name), input_bytes_(model.input_bytes()),
          outputs_(model.bundle.outputs.size()) {
        if (compiled_.note) notes_.push_back(*compiled_.note);
        deserialize();
        const std::string warning = tensorrt_log().take_warning();
        if (!warning.empty()) notes_.push_back("tensorrt: " + warning);
        check_input(model);
        create_context(model);
        set_up_outputs(model.bundle);
        choose_memory();
    }

    EngineInfo describe() const override {
        EngineInfo info{"tensorrt", text_of(library_version()), gpu_.name, std::nullopt};
        info.details = {{"gpu", gpu_.name},
                        {"compute_capability", gpu_.compute_capability},
                        {"driver_cuda", gpu_.driver_cuda},
                        {"cuda_graph", graph_state()},
                        {"memory", described(memory_)},
                        {"engine_key", compiled_.key},
                        {"built_on", compiled_.built_on.empty() ? "no GPU" : compiled_.built_on}};
        if (measured_ms_.size() > 1) {
            std::string measured;
            for (const auto &[kind, ms] : measured_ms_)
                measured += (measured.empty() ? "" : ", ") + std::string(cuda::name_of(kind)) + " " + to_text(ms);
            info.details.emplace_back("memory_measured", measured);
        }
        info.notes = notes_;
        return info;
    }

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
        register_plugins();
        runtime_.reset(nvinfer1::createInferRuntime(tensorrt_log()));
        if (!runtime_) throw unavailable("tensorrt: does not start", tensorrt_log().take_errors());
        if (compiled_.version_compatible) runtime_->setEngineHostCodeAllowed(true);
        if (compiled_.dla_core >= 0) runtime_->setDLACore(compiled_.dla_core);
        engine_.reset(runtime_->deserializeCudaEngine(compiled_.plan.data(), compiled_.plan.size()));
        compiled_.plan = {};
        if (!engine_) {
            throw unavailable(compiled_.name + ": rejected by tensorrt", tensorrt_log().take_errors(), {},
                              "edgeproof compile BUNDLE --target tensorrt on this machine");
        }
    }

    void check_input(const ModelArtifact &model) const {
        const char *name = input_name_.c_str();
        std::string others;
        for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
            const char *found = engine_->getIOTensorName(i);
            if (found != input_name_ && engine_->getTensorIOMode(found) == nvinfer1::TensorIOMode::kINPUT)
                others += (others.empty() ? "" : ", ") + std::string(found);
        }
        if (!others.empty() || engine_->getTensorIOMode(name) != nvinfer1::TensorIOMode::kINPUT ||
            engine_->getTensorDataType(name) != type_of(model.input_dtype())) {
            throw bad_input(compiled_.name + ": its input does not match the model's", others, input_name_);
        }
        const auto batches = [&](nvinfer1::OptProfileSelector which) {
            const nvinfer1::Dims shape = engine_->getProfileShape(name, 0, which);
            return shape.nbDims > 0 ? static_cast<std::int64_t>(shape.d[0]) : 1;
        };
        const std::int64_t smallest = batches(nvinfer1::OptProfileSelector::kMIN);
        if (smallest > 1) {
            throw bad_input(compiled_.name + ": compiled for larger batches",
                            "batches of " + std::to_string(smallest) + " to " +
                                std::to_string(batches(nvinfer1::OptProfileSelector::kMAX)),
                            "a smallest batch of at most 1", batch_fix);
        }
    }

    void create_context(const ModelArtifact &model) {
        context_.reset(engine_->createExecutionContext());
        if (!context_) {
            throw unavailable("tensorrt: could not create an execution context", tensorrt_log().take_errors(), {},
                              "free GPU memory");
        }
        nvinfer1::Dims shape{};
        for (const std::int64_t side : model.input_shape())
            shape.d[shape.nbDims++] = static_cast<std::remove_reference_t<decltype(shape.d[0])>>(side);
        if (!context_->setInputShape(input_name_.c_str(), shape)) {
            throw bad_input(compiled_.name + ": unsupported batch size 1", tensorrt_log().take_errors(), {}, batch_fix);
        }
    }

    void set_up_outputs(const Bundle &bundle) {
        output_bytes_.resize(bundle.outputs.size());
        for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
            const char *name = engine_->getIOTensorName(i);
            if (engine_->getTensorIOMode(name) != nvinfer1::TensorIOMode::kOUTPUT) continue;
            const std::int64_t count = size_of(context_->getTensorShape(name));
            const auto named = std::find_if(bundle.outputs.begin(), bundle.outputs.end(),
                                            [name](const OutputEntry &output) { return output.name == name; });
            if (named == bundle.outputs.end()) {
                bind_unread(name, count);
                continue;
            }
            const auto index = static_cast<std::size_t>(named - bundle.outputs.begin());
            if (count >= 0 && static_cast<std::size_t>(count) == bundle.output_size(index) &&
                engine_->getTensorDataType(name) == nvinfer1::DataType::kFLOAT) {
                output_bytes_[index] = static_cast<std::size_t>(count) * sizeof(float);
            }
        }
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            output_names_.push_back(bundle.outputs[i].name);
            if (output_bytes_[i] > 0) continue;
            throw bad_input(
                compiled_.name + ": an output does not match the manifest", {},
                bundle.outputs[i].name + ", " + std::to_string(bundle.output_size(i)) + " values of float32");
        }
    }

    /// TensorRT refuses to run while an output has no memory, also one that is never read.
    void bind_unread(const char *name, std::int64_t count) {
        // Where only a run tells the size, TensorRT knows a bound, such as of the boxes of non-maximum suppression.
        const std::int64_t bytes =
            count < 0 ? context_->getMaxOutputSize(name) : count * static_cast<std::int64_t>(most_item_bytes);
        if (bytes < 0) throw bad_input(compiled_.name + ": unsupported output of unknown size", name);
        unread_.push_back(std::make_unique<DeviceMemory>(std::max(static_cast<std::size_t>(bytes), most_item_bytes)));
        bind(name, unread_.back()->address());
    }

    void bind(const char *name, void *address) {
        if (!context_->setTensorAddress(name, address))
            throw unavailable("tensorrt: rejected the memory of " + std::string(name), tensorrt_log().take_errors());
    }

    /// Measure the kinds of memory that may be the fastest here, and use that one.
    void choose_memory() {
        const std::vector<MemoryKind> kinds = cuda::memory_kinds(gpu_);
        const MemoryKind usual = kinds.front();
        use(usual);
        if (kinds.size() == 1) return;
        measured_ms_.emplace_back(usual, fastest_ms());
        for (auto kind = kinds.begin() + 1; kind != kinds.end(); ++kind) {
            try {
                use(*kind);
                measured_ms_.emplace_back(*kind, fastest_ms());
            } catch (const Failure &) {
                // This GPU does not have it, or not enough of it.
            }
        }
        const MemoryKind best = cuda::fastest(measured_ms_);
        if (best != memory_) use(best);
    }

    /// Allocate input and outputs in a kind of memory, in place of those before, and warm up.
    void use(MemoryKind kind) {
        stream_.drop_graph();
        ran_ = false;
        memory_ = kind;
        input_ = std::make_unique<Buffer>(input_bytes_, kind);
        bind(input_name_.c_str(), input_->device());
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            outputs_[i] = std::make_unique<Buffer>(output_bytes_[i], kind);
            bind(output_names_[i].c_str(), outputs_[i]->device());
        }
        // The first run makes kernels and the second captures the graph, before a frame arrives.
        run();
        run();
    }

    /// The shortest time, from the host's memory to the host's memory.
    double fastest_ms() {
        std::vector<double> found;
        for (int i = 0; i < timed_runs; ++i) {
            const auto begin = std::chrono::steady_clock::now();
            run();
            found.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
        }
        return *std::min_element(found.begin(), found.end());
    }

    void compute() {
        if (ran_ && no_capture_.empty() && stream_.graph == nullptr) capture();
        if (stream_.graph != nullptr) {
            check(cudaGraphLaunch(stream_.graph, stream_.handle), "launch the graph");
            return;
        }
        if (!context_->enqueueV3(stream_.handle))
            throw unavailable("tensorrt: could not run the model", tensorrt_log().take_errors());
        ran_ = true;
    }

    /// Some layers synchronise, which a capture forbids; a plain launch then does the same work.
    void capture() {
        check(cudaStreamSynchronize(stream_.handle), "finish the copy");
        cudaError_t error = cudaStreamBeginCapture(stream_.handle, cudaStreamCaptureModeThreadLocal);
        if (error == cudaSuccess) {
            const bool enqueued = context_->enqueueV3(stream_.handle);
            cudaGraph_t graph = nullptr;
            error = cudaStreamEndCapture(stream_.handle, &graph);
            if (enqueued && error == cudaSuccess) error = cudaGraphInstantiateWithFlags(&stream_.graph, graph, 0);
            if (!enqueued && error == cudaSuccess) error = cudaErrorStreamCaptureUnsupported;
            if (graph != nullptr) cudaGraphDestroy(graph);
        }
        if (error == cudaSuccess) return;
        stream_.graph = nullptr;
        cudaGetLastError();
        const std::string said = tensorrt_log().take_errors();
        no_capture_ = "not possible: " + (said.empty() ? cudaGetErrorString(error) : said);
    }

    std::string graph_state() const {
        if (!no_capture_.empty()) return no_capture_;
        return stream_.graph == nullptr ? "not captured yet" : "captured";
    }

    // Destroyed from the last to the first: a context must not outlive its engine, nor an engine its runtime.
    cuda::Gpu gpu_;
    CompiledEngine compiled_;
    std::string input_name_;
    std::size_t input_bytes_;
    std::vector<std::string> output_names_;
    std::vector<std::size_t> output_bytes_;
    std::vector<std::string> notes_;
    MemoryKind memory_ = MemoryKind::pinned;
    cuda::MemoryTimes measured_ms_;
    std::unique_ptr<Buffer> input_;
    std::vector<std::unique_ptr<Buffer>> outputs_;
    std::vector<std::unique_ptr<DeviceMemory>> unread_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    cuda::Stream stream_;
    bool ran_ = false;
    std::string no_capture_;  ///< why no graph can be captured; empty while none has failed
};

}  // namespace

std::string tensorrt_version() { return text_of(library_version()); }

std::unique_ptr<Engine> load_tensorrt(const ModelArtifact &model) { return std::make_unique<TensorRtEngine>(model); }

}  // namespace edgeproof::app
