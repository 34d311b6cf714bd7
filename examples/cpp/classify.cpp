// Classify one image: edgeproof checks the bundle and makes the tensor that training saw, OpenVINO runs the model.

#include <edgeproof/artifact.h>
#include <edgeproof/failure.h>
#include <edgeproof/postprocess.h>
#include <edgeproof/preprocess.h>

#include <cstdio>
#include <exception>
#include <opencv2/imgcodecs.hpp>
#include <openvino/openvino.hpp>

namespace {

void classify(const std::string &folder, const std::string &file) {
    auto bundle = edgeproof::Bundle::open(folder);
    if (bundle.task != "classify") throw edgeproof::bad_input(folder + ": wrong task", bundle.task, "classify");
    bundle.check_files();
    const cv::Mat image = cv::imread(file, cv::IMREAD_COLOR);
    if (image.empty()) throw edgeproof::bad_input(file + ": cannot be read as an image");

    const edgeproof::ModelArtifact artifact{bundle, "fp32", {}};
    ov::Core core;
    const auto model = core.read_model(artifact.onnx().path());
    const auto shape = artifact.input_shape();
    model->reshape(ov::PartialShape(std::vector<ov::Dimension>(shape.begin(), shape.end())));
    // Some CPUs would compute an fp32 model in bfloat16.
    const auto fp32 = ov::hint::inference_precision(ov::element::f32);
    ov::InferRequest request = core.compile_model(model, "CPU", fp32).create_infer_request();

    edgeproof::Preprocessor preprocess(bundle.contract);
    preprocess(edgeproof::Frame::packed(image.data, image.rows, image.cols, 3), request.get_input_tensor().data());
    request.infer();

    const edgeproof::OutputEntry &output = bundle.outputs.front();
    const std::size_t classes = bundle.output_size();
    auto *scores = request.get_tensor(output.name).data<float>();
    if (output.activation == "none") edgeproof::softmax(scores, classes);  // logits; else the model gave probabilities
    for (const auto &[index, probability] : edgeproof::top_k(scores, classes, 5))
        std::printf("%.6f %s\n", static_cast<double>(probability), bundle.label_of(index).c_str());
}

}  // namespace

int main(int count, char **arguments) try {
    if (count != 3) return std::fprintf(stderr, "Usage: classify BUNDLE IMAGE\n"), 2;
    classify(arguments[1], arguments[2]);
} catch (const edgeproof::Failure &failure) {
    return std::fprintf(stderr, "%s\n", failure.what()), static_cast<int>(failure.code);
} catch (const std::exception &error) {
    return std::fprintf(stderr, "%s\n", error.what()), 2;
}
