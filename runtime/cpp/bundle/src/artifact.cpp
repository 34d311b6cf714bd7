#include "edgeproof/artifact.h"

#include <map>

#include "edgeproof/error.h"
#include "edgeproof/failure.h"
#include "edgeproof/onnx_file.h"
#include "files.h"

namespace edgeproof {
namespace {

std::string joined(const std::vector<std::string> &names) {
    std::string text;
    for (const std::string &name : names) text += (text.empty() ? "" : ", ") + name;
    return text.empty() ? "none" : text;
}

/// Content of a file that a model refers to: listed, and below the model's own folder.
std::string external(const Bundle &bundle, const std::string &model, const std::string &location) {
    const std::string listed = (std::filesystem::path(model).parent_path() / location).string();
    if (!is_plain(location))
        throw bad_input(model + ": refers to external data outside its folder", location);
    if (bundle.files.count(listed) == 0)
        throw bad_input(model + ": refers to external data that bundle.json does not list", location, {},
                        "export the bundle again: its models hold their own weights");
    return bundle.read(listed);
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

PrivateCopy ModelArtifact::onnx() const {
    const std::string &name = onnx_name(false);
    PrivateCopy model = bundle.copy(name);
    try {
        const OnnxReferences found = onnx_references(model.content());
        if (found.compiled)
            throw bad_input(name + ": holds a compiled engine (EPContext), which is code", {}, {},
                            "export the model itself");
        if (found.files.empty()) return model;
        std::map<std::string, std::string> content;
        for (const std::string &location : found.files) content[location] = external(bundle, name, location);
        return PrivateCopy(with_external_data(
            model.content(), [&content](const std::string &location) { return std::string_view(content.at(location)); }));
    } catch (const Error &error) {
        throw bad_input(name + ": not an ONNX model", error.problem + (error.got.empty() ? "" : ": " + error.got),
                        error.expected, error.fix);
    }
}

std::vector<std::int64_t> ModelArtifact::input_shape() const {
    if (bundle.latent) return {1, static_cast<std::int64_t>(bundle.latent->size)};
    const auto shape = bundle.contract.tensor_shape(1);
    return {shape.begin(), shape.end()};
}

std::size_t ModelArtifact::input_bytes() const {
    return bundle.latent ? bundle.latent->size * sizeof(float) : bundle.contract.slot_bytes();
}

}  // namespace edgeproof
