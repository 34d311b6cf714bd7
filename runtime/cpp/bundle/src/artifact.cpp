#include "edgeproof/artifact.h"

#include "edgeproof/failure.h"

namespace edgeproof {
namespace {

std::string joined(const std::vector<std::string> &names) {
    std::string text;
    for (const std::string &name : names) text += (text.empty() ? "" : ", ") + name;
    return text.empty() ? "none" : text;
}

}  // namespace

const std::string &ModelArtifact::onnx_name(bool for_tensorrt) const {
    auto found = for_tensorrt ? bundle.models.find(precision + "-tensorrt") : bundle.models.end();
    if (found == bundle.models.end()) found = bundle.models.find(precision);
    if (found == bundle.models.end()) {
        std::vector<std::string> present;
        for (const auto &[name, file] : bundle.models) present.push_back(name);
        if (const std::string reason = bundle.why_left_out("precision", precision); !reason.empty())
            throw bad_input(bundle.folder.string() + ": " + precision + " was left out", reason, {},
                            "edgeproof optimize " + bundle.folder.string() + " --data DATA --precision " + precision);
        throw bad_input(bundle.folder.string() + ": no " + precision + " model", joined(present), {},
                        "edgeproof optimize " + bundle.folder.string() + " --data DATA --precision " + precision);
    }
    return found->second;
}

std::filesystem::path ModelArtifact::onnx() const { return bundle.checked(onnx_name(false)); }

std::vector<std::int64_t> ModelArtifact::input_shape() const {
    if (bundle.latent) return {1, static_cast<std::int64_t>(bundle.latent->size)};
    const auto shape = bundle.contract.tensor_shape(1);
    return {shape.begin(), shape.end()};
}

std::size_t ModelArtifact::input_bytes() const {
    return bundle.latent ? bundle.latent->size * sizeof(float) : bundle.contract.slot_bytes();
}

}  // namespace edgeproof
