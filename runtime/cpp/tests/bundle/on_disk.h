#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "edgeproof/bundle.h"
#include "files.h"
#include "sha256.h"

namespace edgeproof {

inline std::string entry(const std::string &name, const std::string &content) {
    Sha256 hash;
    hash.update(content);
    return "\"" + name + "\": {\"sha256\": \"" + hash.hex() + "\", \"size_bytes\": " + std::to_string(content.size()) +
           "}";
}

inline std::string sha256_of_model() {
    Sha256 hash;
    hash.update("model");
    return hash.hex();
}

/// A bundle with one plan of TensorRT 10.3.0.30 for compute capability 8.7, on disk until it goes.
struct OnDisk {
    std::filesystem::path folder;
    std::string options = "{}";
    std::string onnx_sha256 = sha256_of_model();
    std::string built_on;  ///< the GPU that its record names; empty for none
    std::string second_built_on;  ///< of a second engine with the same plan; empty for none
    std::string plan = "ftrt" + std::string(20, '\0') + std::string("\x0a\x03\x00\x1e", 4) + std::string(40, '\0');

    OnDisk() {
        std::string pattern = std::filesystem::temp_directory_path() / "edgeproof-XXXXXX";
        folder = ::mkdtemp(pattern.data());
    }
    ~OnDisk() { std::filesystem::remove_all(folder); }

    Bundle write(bool trusted = true) const {
        Sha256 hash;
        hash.update(plan);
        ::setenv("EDGEPROOF_TRUST_ENGINES", trusted ? ("x, " + hash.hex()).c_str() : "", 1);
        const auto record_of = [&](const std::string &gpu) {
            return R"({"version": "10.3.0.30", "compute_capabilities": ["8.7"], "onnx_sha256": ")" + onnx_sha256 +
                   R"(", "options": )" + options + R"(, "gpu": )" + (gpu.empty() ? "null" : "\"" + gpu + "\"") + "}";
        };
        const std::string record = record_of(built_on);
        const std::string second = record_of(second_built_on);
        const bool has_second = !second_built_on.empty();
        write_atomically(folder / "model.onnx", "model");
        write_atomically(folder / "model.plan", plan);
        write_atomically(folder / "engine.json", record);
        write_atomically(folder / "second.json", second);
        write_atomically(folder / "bundle.json", R"({"schema": "edgeproof.bundle/1", "name": "b", "task": "classify",
            "input": {"name": "input", "contract": {"color": "rgb", "resize": "shortest", "resize_size": [8, 8],
                "crop_size": [8, 8], "crop_fraction": null, "filter": "bilinear", "resampler": "pillow-13",
                "fill": [0, 0, 0], "scale": 255.0, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "layout": "NCHW",
                "dtype": "float32", "batch": {"min": 1, "opt": 1, "max": 1}}},
            "outputs": [{"name": "logits", "shape": [2], "activation": "none"}], "labels": null, "class_ids": null,
            "provenance": {}, "models": {"fp32": "model.onnx"}, "golden": [], "evidence": [],
            "engines": [{"key": "k", "target": "tensorrt", "precision": "fp32", "path": "model.plan",
                "info": "engine.json"})" +
                                                     (has_second ? R"(, {"key": "second", "target": "tensorrt",
                "precision": "fp32", "path": "model.plan", "info": "second.json"})" : std::string()) +
                                                     R"(], "files": {)" + entry("model.onnx", "model") + ", " +
                                                     entry("model.plan", plan) + ", " + entry("engine.json", record) +
                                                     (has_second ? ", " + entry("second.json", second) : std::string()) +
                                                     "}}");
        return Bundle::open(folder);
    }
};

}  // namespace edgeproof
