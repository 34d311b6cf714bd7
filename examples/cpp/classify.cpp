// Classify one picture: edgeproof makes the tensor that training saw, OpenVINO runs the bundle's model.

#include <edgeproof/postprocess.h>
#include <edgeproof/preprocess.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <openvino/openvino.hpp>

int main(int count, char **arguments) try {
    if (count != 3) return std::fprintf(stderr, "Usage: classify BUNDLE PICTURE\n"), 2;
    const std::string bundle = arguments[1];
    std::ifstream file(bundle + "/bundle.json");
    const std::string manifest{std::istreambuf_iterator<char>(file), {}};
    const cv::Mat image = cv::imread(arguments[2], cv::IMREAD_COLOR);
    if (image.empty()) return std::fprintf(stderr, "cannot read %s\n", arguments[2]), 2;

    const auto contract = edgeproof::json::parse(manifest).at("input").at("contract");
    edgeproof::Preprocessor preprocess(edgeproof::contract_from_json(contract));
    ov::Core core;
    const auto model = core.read_model(bundle + "/model.onnx");
    const auto shape = preprocess.contract().tensor_shape(1);
    model->reshape(ov::PartialShape(std::vector<ov::Dimension>(shape.begin(), shape.end())));
    ov::InferRequest request = core.compile_model(model, "CPU").create_infer_request();

    preprocess(edgeproof::Frame::packed(image.data, image.rows, image.cols, 3), request.get_input_tensor().data());
    request.infer();
    ov::Tensor output = request.get_output_tensor();
    edgeproof::softmax(output.data<float>(), output.get_size());
    for (const auto &[index, probability] : edgeproof::top_k(output.data<float>(), output.get_size(), 5))
        std::printf("%zu %.4f\n", index, static_cast<double>(probability));
} catch (const std::exception &error) {
    return std::fprintf(stderr, "%s\n", error.what()), 2;
}
