#include "engines/catalog.h"

#include <opencv2/core.hpp>

#include "edgeproof/failure.h"
#include "engines/trial.h"
#include "media/media.h"

namespace edgeproof::app {
namespace {

#ifdef EDGEPROOF_OPENCV_DNN
std::unique_ptr<Engine> load_opencv(const ModelArtifact &model) { return media().load_dnn(model); }
std::string opencv_version() { return cv::getVersionString(); }
#endif

struct BuiltIn {
    const char *name;
    std::unique_ptr<Engine> (*load)(const ModelArtifact &);
    std::string (*version)();
};

// In the order of "auto": a compiled engine in the bundle is there to be used.
constexpr BuiltIn built_in[] = {
#ifdef EDGEPROOF_TENSORRT
    {"tensorrt", load_tensorrt, tensorrt_version},
#endif
#ifdef EDGEPROOF_OPENVINO
    {"openvino", load_openvino, openvino_version},
#endif
#ifdef EDGEPROOF_OPENCV_DNN
    {"opencv", load_opencv, opencv_version},
#endif
};

const Trial &trial_on(const BuiltIn &engine, const ModelArtifact &model) {
    return trial_of(engine.name, engine.version(), model, [&] { return engine.load(model); });
}

std::unique_ptr<Engine> load_harmless(const BuiltIn &engine, const ModelArtifact &model) {
    const Trial &trial = trial_on(engine, model);
    if (trial.fault.empty()) return engine.load(model);
    std::string fix = "choose another engine";
    if (!trial.exceeded.empty())
        fix += std::string(", or raise the limit EDGEPROOF_TRIAL_") + (trial.exceeded == "mib" ? "MIB" : "SECONDS");
    throw bad_input(std::string(engine.name) + " " + engine.version() + " " + trial.fault,
                    model.bundle.folder.string(), {}, fix);
}

std::string joined(const std::vector<std::string> &names) {
    std::string text;
    for (const std::string &name : names) text += (text.empty() ? "" : ", ") + name;
    return text.empty() ? "none" : text;
}

std::unique_ptr<Engine> first_that_loads(const ModelArtifact &model) {
    model.onnx_name(true);  // a precision that the bundle lacks is no engine's fault
    std::string reasons;
    for (const BuiltIn &engine : built_in) {
        try {
            return load_harmless(engine, model);
        } catch (const Failure &failure) {
            reasons += (reasons.empty() ? "" : "; ") + std::string(engine.name) + ": " + one_line(failure);
        }
    }
    throw unavailable("engine auto: no engine of this program loads the model",
                      reasons.empty() ? "no engine was built in" : reasons);
}

}  // namespace

std::unique_ptr<Engine> load_engine(const std::string &name, const ModelArtifact &model) {
    if (name == "auto") return first_that_loads(model);
    for (const BuiltIn &engine : built_in)
        if (name == engine.name) return load_harmless(engine, model);
    if (name != "tensorrt" && name != "openvino" && name != "opencv")
        throw bad_input("unknown engine", name, "auto, tensorrt, openvino or opencv");
    throw unavailable("engine " + name + ": not in this build of edgeproof-run", "built with " + joined(engine_names()),
                      {}, "build it where CMake finds the engine's headers");
}

void try_engines(const std::string &name, const ModelArtifact &model) {
    for (const BuiltIn &engine : built_in) {
        if (name != "auto" && name != engine.name) continue;
        if (trial_on(engine, model).done) return;  // "auto" takes the first that loads
    }
}

std::vector<std::string> engine_names() {
    std::vector<std::string> names;
    for (const BuiltIn &engine : built_in) names.emplace_back(engine.name);
    return names;
}

}  // namespace edgeproof::app
