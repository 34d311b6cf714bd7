#include <algorithm>

#include "bundle/on_disk.h"
#include "check.h"
#include "core/npy.h"
#include "edgeproof/failure.h"
#include "edgeproof/json.h"

using namespace edgeproof;

namespace {

std::vector<std::string> strings(const json::Value &value) {
    std::vector<std::string> found;
    for (const json::Value &one : value.array()) found.push_back(one.string());
    return found;
}

void write(const std::filesystem::path &folder, const json::Value &files) {
    for (const auto &[name, content] : files.object()) {
        std::filesystem::create_directories((folder / name).parent_path());
        write_atomically(folder / name, content.string());
    }
}

void check_left_out(const Bundle &bundle, const json::Value &expected, const std::string &what) {
    CHECK_WITH(bundle.left_out.size() == expected.array().size(), what);
    for (const json::Value &one : expected.array()) {
        const std::vector<std::string> words = strings(one);
        const bool found = std::any_of(bundle.left_out.begin(), bundle.left_out.end(), [&words](const LeftOut &part) {
            return part.kind == words[0] && part.name == words[1] && part.reason.find(words[2]) != std::string::npos;
        });
        CHECK_WITH(found, what + ": " + (bundle.left_out.empty() ? "" : bundle.left_out.front().note()));
    }
}

}  // namespace

TEST(golden_attachments_are_read_as_in_python) {
    const json::Value cases = json::parse(read_text(GOLDEN_DIR "/attachments.json"));
    CHECK(cases.array().size() > 30);
    for (const json::Value &golden : cases.array()) {
        const std::string &what = golden.at("what").string();
        const OnDisk disk;
        write(disk.folder, golden.at("files"));
        Bundle bundle = Bundle::open(disk.folder);
        bundle.check_files();
        std::vector<std::string> models;
        for (const char *precision : {"fp32", "fp16", "int8", "int8-tensorrt"})
            if (bundle.models.count(precision) != 0) models.emplace_back(precision);
        CHECK_WITH(models == strings(golden.at("models")), what);
        std::vector<std::string> engines;
        for (const EngineEntry &entry : bundle.engines) engines.push_back(entry.key);
        CHECK_WITH(engines == strings(golden.at("engines")), what);
        CHECK_WITH(bundle.evidence == strings(golden.at("evidence")), what);
        check_left_out(bundle, golden.at("left_out"), what);
    }
}

TEST(a_bundle_whose_replacement_was_interrupted_is_found) {
    const OnDisk disk;
    disk.write();
    const std::filesystem::path place = disk.folder / "x.edge";
    const std::filesystem::path aside = disk.folder / ".x.edge.abc.old.partial";
    std::filesystem::create_directories(aside / "x.edge");
    for (const char *name : {"bundle.json", "model.onnx", "model.plan", "engine.json"})
        std::filesystem::rename(disk.folder / name, aside / "x.edge" / name);
    CHECK(Bundle::open(place).folder == place);
    CHECK(!std::filesystem::exists(aside));
}
