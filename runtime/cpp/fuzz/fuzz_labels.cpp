// Any bytes as a bundle's labels, with their true hash: one label for each class, or refused with an error.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "edgeproof/bundle.h"
#include "edgeproof/error.h"
#include "edgeproof/failure.h"
#include "folder.h"
#include "sha256.h"

namespace {

constexpr std::size_t classes = 3;
constexpr const char *manifest = R"({
  "schema": "edgeproof.bundle/1", "name": "fuzz", "task": "classify",
  "input": {"name": "input", "latent": null, "contract": {
    "color": "rgb", "resize": "shortest", "resize_size": [8, 8], "crop_size": [8, 8], "crop_fraction": null,
    "filter": "bilinear", "resampler": "pillow-13", "fill": [0, 0, 0], "scale": 255.0, "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5], "layout": "NCHW", "dtype": "float32", "batch": {"min": 1, "opt": 1, "max": 1}}},
  "outputs": [{"name": "logits", "shape": [3], "activation": "none"}],
  "labels": "labels.txt", "class_ids": null, "provenance": {}, "models": {"fp32": "model.onnx"}, "golden": [],
  "engines": [], "evidence": [], "anomaly": null, "multilabel": null,
  "files": {"model.onnx": {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "size_bytes": 0},
            "labels.txt": {"sha256": ")";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    static const edgeproof::fuzz::Folder folder;
    edgeproof::Sha256 hash;
    hash.update({reinterpret_cast<const char *>(data), size});
    const std::string text =
        manifest + hash.hex() + "\", \"size_bytes\": " + std::to_string(size) + "}}}";
    folder.write("bundle.json", text.data(), text.size());
    folder.write("labels.txt", data, size);
    folder.write("model.onnx", data, 0);
    try {
        if (edgeproof::Bundle::open(folder.path).labels.size() != classes) std::abort();
    } catch (const edgeproof::Failure &) {
    } catch (const edgeproof::Error &) {
    }
    return 0;
}
