#include <cstdlib>
#include <filesystem>

#include "check.h"
#include "edgeproof/engine_record.h"
#include "edgeproof/failure.h"
#include "files.h"
#include "sha256.h"

using namespace edgeproof;

namespace {

std::string entry(const std::string &name, const std::string &content) {
    Sha256 hash;
    hash.update(content);
    return "\"" + name + "\": {\"sha256\": \"" + hash.hex() + "\", \"size_bytes\": " + std::to_string(content.size()) +
           "}";
}

std::string sha256_of_model() {
    Sha256 hash;
    hash.update("model");
    return hash.hex();
}

/// A bundle with one plan of TensorRT 10.3.0.30 for compute capability 8.7, on disk until it goes.
struct OnDisk {
    std::filesystem::path folder;
    std::string options = "{}";
    std::string onnx_sha256 = sha256_of_model();
    std::string plan = "ftrt" + std::string(20, '\0') + std::string("\x0a\x03\x00\x1e", 4) + std::string(40, '\0');

    OnDisk() {
        std::string pattern = std::filesystem::temp_directory_path() / "edgeproof-XXXXXX";
        folder = ::mkdtemp(pattern.data());
    }
    ~OnDisk() { std::filesystem::remove_all(folder); }

    Bundle write() const {
        const std::string record = R"({"version": "10.3.0.30", "compute_capabilities": ["8.7"], "onnx_sha256": ")" +
                                   onnx_sha256 + R"(", "options": )" + options + "}";
        write_atomically(folder / "model.onnx", "model");
        write_atomically(folder / "model.plan", plan);
        write_atomically(folder / "engine.json", record);
        write_atomically(folder / "bundle.json", R"({"schema": "edgeproof.bundle/1", "name": "b", "task": "classify",
            "input": {"name": "input", "contract": {"color": "rgb", "resize": "shortest", "resize_size": [8, 8],
                "crop_size": [8, 8], "crop_fraction": null, "filter": "bilinear", "resampler": "pillow-13",
                "fill": [0, 0, 0], "scale": 255.0, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "layout": "NCHW",
                "dtype": "float32", "batch": {"min": 1, "opt": 1, "max": 1}}},
            "outputs": [{"name": "logits", "shape": [2], "activation": "none"}], "labels": null, "class_ids": null,
            "provenance": {}, "models": {"fp32": "model.onnx"}, "golden": [], "evidence": [],
            "engines": [{"key": "k", "target": "tensorrt", "precision": "fp32", "path": "model.plan",
                "info": "engine.json"}], "files": {)" +
                                                     entry("model.onnx", "model") + ", " + entry("model.plan", plan) +
                                                     ", " + entry("engine.json", record) + "}}");
        return Bundle::open(folder);
    }
};

/// What the refusal says; empty where there is none.
std::string refusal(const Bundle &bundle, const std::vector<int> &installed, const std::string &capability) {
    try {
        find_compiled({bundle, "fp32", {}}, installed, capability);
    } catch (const Failure &failure) {
        return failure.what();
    }
    return {};
}

bool says(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST(a_plan_that_fits_is_found) {
    const OnDisk disk;
    const Bundle bundle = disk.write();
    CHECK(find_compiled({bundle, "fp32", {}}, {10, 3, 0}, "8.7").plan == disk.folder / "model.plan");
}

TEST(another_version_or_gpu_is_refused) {
    OnDisk disk;
    const Bundle plain = disk.write();
    CHECK(says(refusal(plain, {10, 4, 0}, "8.7"), "another version of TensorRT"));
    CHECK(says(refusal(plain, {10, 3, 0}, "8.9"), "another GPU"));
    disk.options = R"({"version_compatible": true, "hardware_compatibility": "ampere_plus", "dla_core": 1})";
    const Bundle wide = disk.write();
    CHECK(refusal(wide, {10, 4, 0}, "8.9").empty());
    CHECK(says(refusal(wide, {11, 0, 0}, "8.7"), "another version of TensorRT"));
    CHECK(says(refusal(wide, {10, 2, 0}, "8.7"), "another version of TensorRT"));
    CHECK(says(refusal(wide, {10, 3, 0}, "7.5"), "another GPU"));
    CHECK(find_compiled({wide, "fp32", {}}, {10, 3, 0}, "8.7").dla_core == 1);
}

TEST(a_plan_that_is_not_what_it_says_is_refused) {
    OnDisk disk;
    disk.onnx_sha256 = std::string(64, '0');
    CHECK(says(refusal(disk.write(), {10, 3, 0}, "8.7"), "built from another model"));
    disk.onnx_sha256 = sha256_of_model();
    const std::string plan = disk.plan;
    disk.plan = plan.substr(0, 30);
    CHECK(says(refusal(disk.write(), {10, 3, 0}, "8.7"), "truncated"));
    disk.plan = "vtrt" + plan.substr(4);
    CHECK(says(refusal(disk.write(), {10, 3, 0}, "8.7"), "no TensorRT plan"));
    disk.plan = plan;
    disk.plan[25] = 4;
    CHECK(says(refusal(disk.write(), {10, 3, 0}, "8.7"), "contradict each other"));
    disk.plan = plan;
    disk.options = "7";
    CHECK(!refusal(disk.write(), {10, 3, 0}, "8.7").empty());
    disk.options = "{}";
    const Bundle bundle = disk.write();
    write_atomically(disk.folder / "model.plan", plan + "x");
    CHECK(says(refusal(bundle, {10, 3, 0}, "8.7"), "was changed"));
}
