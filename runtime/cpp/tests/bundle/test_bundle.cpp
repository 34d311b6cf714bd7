#include "bundle/on_disk.h"
#include "check.h"
#include "edgeproof/artifact.h"
#include "edgeproof/failure.h"

using namespace edgeproof;

namespace {

/// What the check of all files says, or what it leaves out; empty where all are whole.
std::string damage(Bundle bundle) {
    try {
        bundle.check_files();
    } catch (const Failure &failure) {
        return failure.code == ExitCode::bad_input ? failure.what() : "another exit code";
    }
    return bundle.left_out.empty() ? "" : bundle.left_out.front().note();
}

bool says(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST(every_listed_file_is_checked) {
    const OnDisk disk;
    const Bundle bundle = disk.write();
    CHECK_WITH(damage(bundle).empty(), damage(bundle));
    for (const char *name : {"model.onnx", "model.plan", "engine.json"}) {
        const std::string content = read_file(disk.folder / name);
        std::string changed = content;
        changed[changed.size() / 2] ^= 1;
        write_atomically(disk.folder / name, changed);
        CHECK_WITH(says(damage(bundle), "sha256"), std::string(name));
        write_atomically(disk.folder / name, content + "x");
        CHECK_WITH(says(damage(bundle), "bytes"), std::string(name));
        std::filesystem::remove(disk.folder / name);
        CHECK_WITH(says(damage(bundle), "file missing"), std::string(name));
        write_atomically(disk.folder / name, content);
    }
    CHECK(damage(bundle).empty());
}

TEST(the_exported_model_need_not_be_fp32) {
    const OnDisk disk;
    Bundle bundle = disk.write();
    CHECK(bundle.base_precision() == "fp32");
    bundle.models = {{"int8", "model.int8.onnx"}, {"int8-tensorrt", "model.int8-tensorrt.onnx"}};
    CHECK(bundle.base_precision() == "int8");
}

TEST(a_model_says_what_an_engine_is_fed) {
    const OnDisk disk;
    const Bundle bundle = disk.write();
    const ModelArtifact model{bundle, "fp32", {}};
    CHECK((model.input_shape() == std::vector<std::int64_t>{1, 3, 8, 8}));
    CHECK(model.input_bytes() == 3 * 8 * 8 * sizeof(float));
    CHECK(model.onnx_name(false) == "model.onnx");
}
