#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>

#include "engine.h"
#include "failure.h"

namespace edgeproof::app {
namespace {

class OpenCvEngine : public Engine {
  public:
    explicit OpenCvEngine(const Model &model)
        : path_(model.onnx().string()), input_name_(model.bundle.input_name),
          output_name_(model.bundle.outputs.front().name), output_size_(model.bundle.output_size()) {
        if (model.precision != "fp32" || model.bundle.contract.dtype != DType::float32) {
            throw unavailable("the engine opencv runs fp32 models with float32 inputs only", model.precision, {},
                              "choose another engine or --precision fp32");
        }
        if (model.threads) cv::setNumThreads(*model.threads);
        const std::vector<std::int64_t> shape = model.input_shape();
        input_ = cv::Mat::zeros(4, std::vector<int>(shape.begin(), shape.end()).data(), CV_32F);
        try {
            net_ = cv::dnn::readNetFromONNX(path_);
            // Only a forward pass shows whether every operator is there.
            forward();
        } catch (const cv::Exception &error) {
            throw bad_input("opencv cannot load " + path_, first_line(error), {},
                            std::string("this is OpenCV ") + cv::getVersionString() +
                                "; build with a newer one, or choose another engine");
        }
    }

    EngineInfo describe() const override { return {"opencv", cv::getVersionString(), "CPU", cv::getNumThreads()}; }

    void *input() override { return input_.data; }

    const float *run() override {
        try {
            return forward();
        } catch (const cv::Exception &error) {
            throw bad_input("opencv cannot run " + path_, first_line(error));
        }
    }

  private:
    const float *forward() {
        net_.setInput(input_, input_name_);
        output_ = net_.forward(output_name_);
        if (output_.type() != CV_32F || !output_.isContinuous() || output_.total() != output_size_)
            throw bad_input(path_ + " does not have the manifest's output",
                            std::to_string(output_.total()) + " values");
        return output_.ptr<float>();
    }

    static std::string first_line(const cv::Exception &error) {
        const std::size_t begin = error.err.find_first_not_of("> ");
        return begin == std::string::npos ? error.what() : error.err.substr(begin, error.err.find('\n') - begin);
    }

    std::string path_;
    std::string input_name_;
    std::string output_name_;
    std::size_t output_size_;
    cv::dnn::Net net_;
    cv::Mat input_;
    cv::Mat output_;
};

}  // namespace

std::unique_ptr<Engine> load_opencv_dnn(const Model &model) { return std::make_unique<OpenCvEngine>(model); }

}  // namespace edgeproof::app
