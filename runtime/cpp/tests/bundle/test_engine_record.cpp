#include "bundle/on_disk.h"
#include "check.h"
#include "edgeproof/engine_record.h"
#include "edgeproof/failure.h"
#include "edgeproof/json.h"
#include "files.h"

using namespace edgeproof;

namespace {

/// What the refusal says; empty where there is none.
std::string refusal(const Bundle &bundle, const std::vector<int> &installed, const std::string &capability) {
    try {
        find_compiled({bundle, "fp32", {}}, installed, {capability, "Orin, 16 SMs, 8 GiB"});
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
    CHECK(find_compiled({bundle, "fp32", {}}, {10, 3, 0}, {"8.7", "Orin"}).plan == disk.plan);
}

TEST(another_version_or_gpu_is_refused) {
    OnDisk disk;
    const Bundle plain = disk.write();
    CHECK(says(refusal(plain, {10, 4, 0}, "8.7"), "another version of TensorRT"));
    CHECK(says(refusal(plain, {10, 3, 0}, "8.9"), "another GPU"));
    disk.options = R"({"version_compatible": true, "hardware_compatibility": "ampere_plus", "dla_core": 1})";
    const Bundle wide = disk.write();
    CHECK(refusal(wide, {10, 4, 0}, "8.9").empty());
    CHECK(refusal(wide, {11, 0, 0}, "8.7").empty());
    CHECK(says(refusal(wide, {12, 0, 0}, "8.7"), "another version of TensorRT"));
    CHECK(says(refusal(wide, {10, 2, 0}, "8.7"), "another version of TensorRT"));
    CHECK(says(refusal(wide, {10, 3, 0}, "7.5"), "another GPU"));
    CHECK(find_compiled({wide, "fp32", {}}, {10, 3, 0}, {"8.7", "Orin"}).dla_core == 1);
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
    CHECK(says(refusal(disk.write(), {10, 3, 0}, "8.7"), "not a TensorRT plan"));
    disk.plan = plan;
    disk.plan[25] = 4;
    CHECK(says(refusal(disk.write(), {10, 3, 0}, "8.7"), "does not match its engine.json"));
    disk.plan = plan;
    disk.options = "7";
    CHECK(!refusal(disk.write(), {10, 3, 0}, "8.7").empty());
    disk.options = "{}";
    const Bundle bundle = disk.write();
    write_atomically(disk.folder / "model.plan", plan + "x");
    CHECK(says(refusal(bundle, {10, 3, 0}, "8.7"), ": modified"));
}

TEST(a_plan_that_was_not_compiled_here_is_refused_unless_it_is_trusted) {
    const OnDisk disk;
    ::setenv("EDGEPROOF_CACHE", (disk.folder / "cache").c_str(), 1);
    const Bundle bundle = disk.write(false);
    const std::string said = refusal(bundle, {10, 3, 0}, "8.7");
    CHECK_WITH(says(said, "not compiled on this machine") && says(said, "--force") && says(said, "--trust"), said);
    const std::string digest = bundle.files.at("model.plan").sha256;
    const auto record = disk.folder / "cache" / "trusted-engines" / (digest + ".json");
    std::filesystem::create_directories(record.parent_path());
    write_atomically(record, R"({"schema": "edgeproof.trusted-engine/1", "sha256": ")" + digest + "\"}");
    CHECK_WITH(refusal(bundle, {10, 3, 0}, "8.7").empty(), refusal(bundle, {10, 3, 0}, "8.7"));
    std::filesystem::permissions(record, std::filesystem::perms(0666));
    CHECK(says(refusal(bundle, {10, 3, 0}, "8.7"), "not compiled on this machine"));
    std::filesystem::permissions(record, std::filesystem::perms(0644));
    write_atomically(record, R"({"schema": "edgeproof.trusted-engine/1", "sha256": "other"})");
    CHECK(says(refusal(bundle, {10, 3, 0}, "8.7"), "not compiled on this machine"));
}

TEST(gpus_of_one_capability_are_told_apart_as_the_golden_says) {
    const json::Value golden = json::parse(read_file(GOLDEN_DIR "/gpus.json"));
    CHECK(golden.at("identities").array().size() > 4);
    for (const json::Value &one : golden.at("identities").array()) {
        const json::Value &board = one.at("board");
        const std::string found =
            gpu_identity(one.at("name").string(), one.at("multiprocessors").integer(),
                         static_cast<std::uint64_t>(one.at("memory_bytes").number()), board.is_null() ? "" : board.string());
        CHECK_WITH(found == one.at("identity").string(), found);
    }
    CHECK(golden.at("notes").array().size() > 3);
    for (const json::Value &one : golden.at("notes").array()) {
        const json::Value &built_on = one.at("built_on");
        const auto found = other_gpu(built_on.is_null() ? "" : built_on.string(), one.at("identity").string());
        const json::Value &note = one.at("note");
        CHECK_WITH(note.is_null() ? !found : found == note.string(), found.value_or("none"));
    }
}

TEST(a_plan_of_this_gpu_goes_before_one_of_another) {
    const std::string own = "Orin, 16 SMs, 8 GiB, NVIDIA Jetson Orin NX";
    OnDisk disk;
    disk.built_on = "Orin, 16 SMs, 62 GiB, NVIDIA Jetson AGX Orin";
    const CompiledEngine other = find_compiled({disk.write(), "fp32", {}}, {10, 3, 0}, {"8.7", own});
    CHECK(other.key == "k" && other.built_on == disk.built_on && other.note && says(*other.note, own));
    disk.second_built_on = own;
    const CompiledEngine found = find_compiled({disk.write(), "fp32", {}}, {10, 3, 0}, {"8.7", own});
    CHECK(found.key == "second" && found.built_on == own && !found.note);
    disk.built_on = "";
    disk.second_built_on = "";
    const CompiledEngine unknown = find_compiled({disk.write(), "fp32", {}}, {10, 3, 0}, {"8.7", own});
    CHECK(unknown.built_on.empty() && !unknown.note);
}
