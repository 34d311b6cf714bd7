#include "engine.h"

#include <sstream>
#include <utility>

#include "failure.h"
#include "media.h"

namespace edgeproof::app {
namespace {

#ifdef EDGEPROOF_OPENCV_DNN
std::unique_ptr<Engine> load_opencv(const Model &model) { return media().load_dnn(model); }
#endif

using Load = std::unique_ptr<Engine> (*)(const Model &);

// In the order of "auto": a compiled engine in the bundle says that somebody wants it used.
constexpr std::pair<const char *, Load> built_in[] = {
#ifdef EDGEPROOF_TENSORRT
    {"tensorrt", load_tensorrt},
#endif
#ifdef EDGEPROOF_OPENVINO
    {"openvino", load_openvino},
#endif
#ifdef EDGEPROOF_OPENCV_DNN
    {"opencv", load_opencv},
#endif
};

std::string joined(const std::vector<std::string> &names) {
    std::string text;
    for (const std::string &name : names) text += (text.empty() ? "" : ", ") + name;
    return text.empty() ? "none" : text;
}

std::string on_one_line(const std::string &text) {
    std::istringstream words(text);
    std::string line;
    for (std::string word; words >> word;) line += (line.empty() ? "" : " ") + word;
    return line;
}

std::unique_ptr<Engine> first_that_loads(const Model &model) {
    model.onnx_name(true);  // a precision that the bundle lacks is no engine's fault
    std::string reasons;
    for (const auto &[name, load] : built_in) {
        try {
            return load(model);
        } catch (const Failure &failure) {
            reasons += (reasons.empty() ? "" : "; ") + std::string(name) + ": " + on_one_line(failure.what());
        }
    }
    throw unavailable("no engine of this program loads the model",
                      reasons.empty() ? "no engine was built in" : reasons);
}

}  // namespace

const std::string &Model::onnx_name(bool for_tensorrt) const {
    auto found = for_tensorrt ? bundle.models.find(precision + "-tensorrt") : bundle.models.end();
    if (found == bundle.models.end()) found = bundle.models.find(precision);
    if (found == bundle.models.end()) {
        std::vector<std::string> present;
        for (const auto &[name, file] : bundle.models) present.push_back(name);
        throw bad_input(bundle.folder.string() + " has no " + precision + " model", joined(present), {},
                        "edgeproof optimize " + bundle.folder.string() + " --data DATA --precision " + precision);
    }
    return found->second;
}

std::filesystem::path Model::onnx() const { return bundle.checked(onnx_name(false)); }

std::vector<std::int64_t> Model::input_shape() const {
    if (bundle.latent) return {1, static_cast<std::int64_t>(bundle.latent->size)};
    const auto shape = bundle.contract.tensor_shape(1);
    return {shape.begin(), shape.end()};
}

std::size_t Model::input_bytes() const {
    return bundle.latent ? bundle.latent->size * sizeof(float) : bundle.contract.slot_bytes();
}

std::unique_ptr<Engine> load_engine(const std::string &name, const Model &model) {
    if (name == "auto") return first_that_loads(model);
    for (const auto &[known, load] : built_in)
        if (name == known) return load(model);
    if (name != "tensorrt" && name != "openvino" && name != "opencv")
        throw bad_input("unknown engine", name, "auto, tensorrt, openvino or opencv");
    throw unavailable("this edgeproof-run was built without the engine " + name, "built with " + joined(engine_names()),
                      {}, "build it where CMake finds the engine's headers");
}

std::vector<std::string> engine_names() {
    std::vector<std::string> names;
    for (const auto &[name, load] : built_in) names.emplace_back(name);
    return names;
}

}  // namespace edgeproof::app
