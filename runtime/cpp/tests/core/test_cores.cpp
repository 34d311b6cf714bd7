#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "check.h"
#include "core/npy.h"
#include "edgeproof/cores.h"
#include "edgeproof/json.h"

using namespace edgeproof;

TEST(quotas_cut_cores_as_the_golden_cases_say) {
    const auto cases = json::parse(read_text(GOLDEN_DIR "/cgroups.json"));
    CHECK(cases.array().size() > 5);
    for (const auto &golden : cases.array()) {
        std::string root = std::filesystem::temp_directory_path() / "edgeproof-XXXXXX";
        CHECK(::mkdtemp(root.data()) != nullptr);
        for (const auto &[name, content] : golden.at("files").object()) {
            std::filesystem::create_directories(std::filesystem::path(root + name).parent_path());
            std::ofstream(root + name) << content.string();
        }
        const int cores = within_cpu_quota(golden.at("cores").integer(), root);
        CHECK_WITH(cores == golden.at("usable").integer(), std::to_string(cores));
        std::filesystem::remove_all(root);
    }
    CHECK(usable_cores() >= 1);
}
