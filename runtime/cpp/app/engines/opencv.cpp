#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>

#include "edgeproof/failure.h"
#include "media/parts.h"

namespace edgeproof::app {
namespace {

class OpenCvEngine : public Engine {
  public:
    explicit OpenCvEngine(const ModelArtifact &model)
        : path_((model.bundle.folder / model.onnx_name(false)).string()), input_name_(model.bundle.input_name), outputs_(model.bundle.outputs.size()) {
        if (model.precision != "fp32" || model.input_dtype() != DType::float32) {
            throw bad_input("engine opencv: supports fp32 models with float32 inputs only", model.precision, {},
                            "choose another engine or --precision fp32");
        }
        const PrivateCopy content = model.onnx();
        // Measured with 5.0.0: it fuses Mul(HardSigmoid(Conv(x)), y) to a HardSwish for every y.
        if (CV_VERSION_MAJOR == 5 && CV_VERSION_MINOR == 0 &&
            content.content().find("HardSigmoid") != std::string_view::npos)
            throw bad_input(
                std::string("opencv ") + CV_VERSION + ": wrong outputs where a HardSigmoid gates another value",
                "a HardSigmoid in " + path_, {}, "choose another engine");
        if (model.threads) cv::setNumThreads(*model.threads);
        const std::vector<std::int64_t> shape = model.input_shape();
        input_ =
            cv::Mat::zeros(static_cast<int>(shape.size()), std::vector<int>(shape.begin(), shape.end()).data(), CV_32F);
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            names_.push_back(model.bundle.outputs[i].name);
            sizes_.push_back(model.bundle.output_size(i));
        }
        try {
            net_ = cv::dnn::readNetFromONNX(content.path());
            // Only a forward pass shows whether every operator is supported.
            forward();
        } catch (const cv::Exception &error) {
            throw bad_input("opencv: cannot load " + path_, first_line(error), {},
                            std::string("this is OpenCV ") + cv::getVersionString() +
                                "; build with a newer one, or choose another engine");
        }
    }

    EngineInfo describe() const override { return {"opencv", cv::getVersionString(), "CPU", cv::getNumThreads()}; }

    void *input() override { return input_.data; }

    void run() override {
        try {
            forward();
        } catch (const cv::Exception &error) {
            throw bad_input("opencv: cannot run " + path_, first_line(error));
        }
    }

    const float *output(std::size_t index) const override { return outputs_[index].ptr<float>(); }

  private:
    void forward() {
        net_.setInput(input_, input_name_);
        net_.forward(outputs_, names_);
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            const cv::Mat &output = outputs_[i];
            if (output.type() != CV_32F || !output.isContinuous() || output.total() != sizes_[i])
                throw bad_input(path_ + ": an output does not match the manifest",
                                names_[i] + ", " + std::to_string(output.total()) + " values",
                                std::to_string(sizes_[i]));
        }
    }

    static std::string first_line(const cv::Exception &error) {
        const std::size_t begin = error.err.find_first_not_of("> ");
        return begin == std::string::npos ? error.what() : error.err.substr(begin, error.err.find('\n') - begin);
    }

    std::string path_;
    std::string input_name_;
    std::vector<std::string> names_;
    std::vector<std::size_t> sizes_;
    cv::dnn::Net net_;
    cv::Mat input_;
    std::vector<cv::Mat> outputs_;
};

}  // namespace

std::unique_ptr<Engine> load_opencv_dnn(const ModelArtifact &model) { return std::make_unique<OpenCvEngine>(model); }

}  // namespace edgeproof::app
