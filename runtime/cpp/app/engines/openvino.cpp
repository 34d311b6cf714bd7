#include <openvino/frontend/manager.hpp>
#include <openvino/openvino.hpp>
#include <sstream>
#include <utility>

#include "edgeproof/engine_record.h"
#include "edgeproof/failure.h"
#include "engines/catalog.h"

namespace edgeproof::app {
namespace {

ov::element::Type element_of(DType dtype) {
    switch (dtype) {
        case DType::float32: return ov::element::f32;
        case DType::float16: return ov::element::f16;
        case DType::uint8: return ov::element::u8;
    }
    throw bad_input("input: unknown dtype");
}

/// Read a file as ONNX, whatever its name says. `Core::read_model` tells formats by extension. Without one it shows the
/// content to the parser of every format and reads the whole file twice.
std::shared_ptr<ov::Model> read_onnx(const std::string &path) {
    ov::frontend::FrontEndManager formats;
    const ov::frontend::FrontEnd::Ptr onnx = formats.load_by_framework("onnx");
    return onnx->convert(onnx->load(path));
}

class OpenVinoEngine : public Engine {
  public:
    explicit OpenVinoEngine(const ModelArtifact &model) : path_(model.onnx_name(false)) {
        try {
            load(model);
        } catch (const ov::Exception &error) {
            throw bad_input("openvino: cannot load " + path_, last_line(error));
        }
    }

    EngineInfo describe() const override {
        return {"openvino", openvino_version(), "CPU", compiled_.get_property(ov::inference_num_threads)};
    }

    void *input() override { return input_.data(); }

    const float *output(std::size_t index) const override { return outputs_[index].data<const float>(); }

    void run() override {
        try {
            request_.infer();
        } catch (const ov::Exception &error) {
            throw bad_input("openvino: cannot run " + path_, last_line(error));
        }
    }

  private:
    void load(const ModelArtifact &model) {
        const std::vector<std::int64_t> sides = model.input_shape();
        const ov::Shape shape(sides.begin(), sides.end());
        // Without the hint, CPUs with AMX would silently compute an fp32 model in bfloat16.
        const bool half = model.precision == "fp16";
        ov::AnyMap properties{ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                              ov::hint::inference_precision(half ? ov::element::f16 : ov::element::f32)};
        if (model.threads) properties.insert(ov::inference_num_threads(*model.threads));
        if (!import_blob(model, properties)) {
            const std::shared_ptr<ov::Model> network = read_onnx(model.onnx().path());
            // A fixed shape lets the plugin plan its memory once.
            network->reshape({{model.bundle.input_name, ov::PartialShape(shape)}});
            compiled_ = core_.compile_model(network, "CPU", properties);
        }
        request_ = compiled_.create_infer_request();
        input_ = ov::Tensor(element_of(model.input_dtype()), shape);
        request_.set_input_tensor(input_);
        for (std::size_t i = 0; i < model.bundle.outputs.size(); ++i) {
            // The request owns the memory of a fixed shape for good.
            outputs_.push_back(request_.get_tensor(compiled_.output(model.bundle.outputs[i].name)));
            const ov::Tensor &output = outputs_.back();
            if (output.get_element_type() == ov::element::f32 && output.get_size() == model.bundle.output_size(i))
                continue;
            throw bad_input(path_ + ": an output does not match the manifest",
                            output.get_element_type().get_type_name() + " " + output.get_shape().to_string(),
                            "f32, " + std::to_string(model.bundle.output_size(i)) + " values");
        }
    }

    /// Whether the bundle holds this model compiled for this OpenVINO and CPU, which loads faster.
    bool import_blob(const ModelArtifact &model, const ov::AnyMap &properties) {
        std::optional<std::string> blob = find_blob(model);
        if (!blob) return false;
        std::istringstream stream(std::move(*blob));
        try {
            compiled_ = core_.import_model(stream, "CPU", properties);
        } catch (const ov::Exception &) {
            // A blob records OpenVINO's version and the CPU's instructions; OpenVINO rejects others.
            return false;
        }
        return true;
    }

    static std::string last_line(const std::exception &error) {
        std::string text = error.what();
        text.erase(text.find_last_not_of(" \n") + 1);
        return text.substr(text.rfind('\n') + 1);
    }

    std::string path_;
    ov::Core core_;
    ov::CompiledModel compiled_;
    ov::InferRequest request_;
    ov::Tensor input_;
    std::vector<ov::Tensor> outputs_;
};

}  // namespace

/// "2026.4.1-22105-..." without the build.
std::string openvino_version() {
    const std::string full = ov::get_openvino_version().buildNumber;
    return full.substr(0, full.find('-'));
}

std::unique_ptr<Engine> load_openvino(const ModelArtifact &model) { return std::make_unique<OpenVinoEngine>(model); }

}  // namespace edgeproof::app
