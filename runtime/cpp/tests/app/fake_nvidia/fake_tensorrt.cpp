#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "NvInferPlugin.h"
#include "fake_nvidia.h"

namespace {

using namespace nvinfer1;

constexpr ILogger::Severity error = ILogger::Severity::kERROR;

const FakeNvidia::Tensor *tensor(const char *name) {
    for (const FakeNvidia::Tensor &one : nvidia().tensors)
        if (one.name == name) return &one;
    return nullptr;
}

Dims dims(const std::vector<std::int64_t> &sides) {
    Dims shape{};
    for (const std::int64_t side : sides) shape.d[shape.nbDims++] = side;
    return shape;
}

void say(ILogger::Severity severity, const std::string &text) { nvidia().loggers.back()->log(severity, text.c_str()); }

std::size_t bytes_of(const FakeNvidia::Tensor &one) {
    std::size_t bytes = one.type == DataType::kINT64 ? 8 : one.type == DataType::kUINT8 ? 1 : 4;
    for (const std::int64_t side : one.shape) bytes *= side < 0 ? 1 : static_cast<std::size_t>(side);
    return bytes;
}

/// The network, on the device.
void infer(void *argument) {
    const auto &addresses = *static_cast<const std::vector<void *> *>(argument);
    FakeNvidia &gpu = nvidia();
    gpu.addresses = addresses;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        std::size_t room = 0;
        const std::string kind = fake::kind_of(addresses[i], &room);
        if (kind.empty() || room < bytes_of(gpu.tensors[i])) {
            ++gpu.faults;
            return;
        }
        if (i == 0) std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(gpu.slow_ms[kind]));
        if (i > 1) std::memset(fake::behind(addresses[i]), 0xff, bytes_of(gpu.tensors[i]));
    }
    const auto *in = static_cast<const float *>(fake::behind(addresses[0]));
    auto *out = static_cast<float *>(fake::behind(addresses[1]));
    float sums[2] = {};
    for (std::size_t i = 0; i < bytes_of(gpu.tensors[0]) / sizeof(float); ++i) sums[i % 2] += in[i];
    std::memcpy(out, sums, sizeof sums);
}

class Context : public IExecutionContext {
  public:
    Context() : addresses_(nvidia().tensors.size(), nullptr) { fake::object_made(); }
    ~Context() override { fake::object_gone(); }

    bool setInputShape(const char *, const Dims &shape) override {
        if (shape.d[0] >= nvidia().smallest_batch && shape.d[0] <= nvidia().largest_batch) return true;
        say(error, "Supplied binding dimension out of bounds");
        return false;
    }

    Dims getTensorShape(const char *name) const override {
        const FakeNvidia::Tensor *found = tensor(name);
        if (found != nullptr) return dims(found->shape);
        Dims none{};
        none.nbDims = -1;
        return none;
    }

    std::int64_t getMaxOutputSize(const char *) const override { return nvidia().bound_bytes; }

    bool setTensorAddress(const char *name, void *address) override {
        const auto index = static_cast<std::size_t>(tensor(name) - nvidia().tensors.data());
        if (!nvidia().takes_addresses) {
            say(error, "Parameter check failed: the address is not aligned");
            return false;
        }
        addresses_[index] = address;
        return true;
    }

    bool enqueueV3(cudaStream_t stream) override {
        ++nvidia().calls["enqueueV3"];
        if (!nvidia().run_error.empty()) {
            say(error, nvidia().run_error);
            return false;
        }
        for (std::size_t i = 0; i < addresses_.size(); ++i) {
            if (addresses_[i] != nullptr) continue;
            say(error, "Address is not set for tensor " + nvidia().tensors[i].name);
            return false;
        }
        // A layer that synchronises, which a capture forbids.
        if (!nvidia().capturable && cudaStreamSynchronize(stream) != cudaSuccess) {
            say(error, "operation not permitted when stream is capturing");
            return false;
        }
        runs_.push_back(std::make_unique<std::vector<void *>>(addresses_));
        fake::enqueue(stream, infer, runs_.back().get());
        return true;
    }

  private:
    std::vector<void *> addresses_;
    std::vector<std::unique_ptr<std::vector<void *>>> runs_;
};

class Engine : public ICudaEngine {
  public:
    Engine() { fake::object_made(); }
    ~Engine() override { fake::object_gone(); }

    std::int32_t getNbIOTensors() const override { return static_cast<std::int32_t>(nvidia().tensors.size()); }
    const char *getIOTensorName(std::int32_t index) const override {
        return nvidia().tensors[static_cast<std::size_t>(index)].name.c_str();
    }
    TensorIOMode getTensorIOMode(const char *name) const override {
        const FakeNvidia::Tensor *found = tensor(name);
        if (found == nullptr) return TensorIOMode::kNONE;
        return found->input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
    }
    DataType getTensorDataType(const char *name) const override {
        const FakeNvidia::Tensor *found = tensor(name);
        return found == nullptr ? DataType::kFLOAT : found->type;
    }
    Dims getProfileShape(const char *name, std::int32_t, OptProfileSelector which) const override {
        Dims shape = dims(tensor(name)->shape);
        shape.d[0] = which == OptProfileSelector::kMIN ? nvidia().smallest_batch : nvidia().largest_batch;
        return shape;
    }
    IExecutionContext *createExecutionContext() override {
        if (nvidia().has_context) return new Context;
        say(error, "CUDA out of memory");
        return nullptr;
    }
};

class Runtime : public IRuntime {
  public:
    Runtime() { fake::object_made(); }
    ~Runtime() override { fake::object_gone(); }

    void setEngineHostCodeAllowed(bool allowed) override { nvidia().host_code_allowed = allowed; }
    void setDLACore(std::int32_t core) override { nvidia().dla_core = core; }
    ICudaEngine *deserializeCudaEngine(const void *, std::size_t) override {
        nvidia().events.emplace_back("plan");
        for (const std::string &one : nvidia().warnings) say(ILogger::Severity::kWARNING, one);
        if (nvidia().refusal.empty()) return new Engine;
        say(error, nvidia().refusal);
        return nullptr;
    }
};

}  // namespace

nvinfer1::IRuntime *nvinfer1::createInferRuntime(ILogger &logger) {
    nvidia().events.emplace_back("runtime");
    nvidia().loggers.push_back(&logger);
    if (nvidia().starts) return new Runtime;
    say(error, "CUDA initialization failure");
    return nullptr;
}

extern "C" std::int32_t getInferLibVersion() noexcept { return nvidia().version; }

extern "C" bool initLibNvInferPlugins(void *logger, const char *) {
    nvidia().events.emplace_back("plugins");
    nvidia().loggers.push_back(static_cast<ILogger *>(logger));
    if (!nvidia().plugins_register) say(error, "a plugin is registered already");
    return nvidia().plugins_register;
}
