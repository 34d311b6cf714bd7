#include "engines/catalog.h"

#include <sstream>
#include <utility>

#include "edgeproof/failure.h"
#include "media/media.h"

namespace edgeproof::app {
namespace {

#ifdef EDGEPROOF_OPENCV_DNN
std::unique_ptr<Engine> load_opencv(const ModelArtifact &model) { return media().load_dnn(model); }
#endif

using Load = std::unique_ptr<Engine> (*)(const ModelArtifact &);

// In the order of "auto": a compiled engine in the bundle is there to be used.
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

std::unique_ptr<Engine> first_that_loads(const ModelArtifact &model) {
    model.onnx_name(true);  // a precision that the bundle lacks is no engine's fault
    std::string reasons;
    for (const auto &[name, load] : built_in) {
        try {
            return load(model);
        } catch (const Failure &failure) {
            reasons += (reasons.empty() ? "" : "; ") + std::string(name) + ": " + on_one_line(failure.what());
        }
    }
    throw unavailable("engine auto: no engine of this program loads the model",
                      reasons.empty() ? "no engine was built in" : reasons);
}

}  // namespace

std::unique_ptr<Engine> load_engine(const std::string &name, const ModelArtifact &model) {
    if (name == "auto") return first_that_loads(model);
    for (const auto &[known, load] : built_in)
        if (name == known) return load(model);
    if (name != "tensorrt" && name != "openvino" && name != "opencv")
        throw bad_input("unknown engine", name, "auto, tensorrt, openvino or opencv");
    throw unavailable("engine " + name + ": not in this build of edgeproof-run", "built with " + joined(engine_names()),
                      {}, "build it where CMake finds the engine's headers");
}

std::vector<std::string> engine_names() {
    std::vector<std::string> names;
    for (const auto &[name, load] : built_in) names.emplace_back(name);
    return names;
}

}  // namespace edgeproof::app
