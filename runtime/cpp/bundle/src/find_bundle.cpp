#include "find_bundle.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace edgeproof {
namespace {

namespace fs = std::filesystem;
constexpr std::chrono::milliseconds pause{10};
constexpr std::chrono::seconds patience{2};
const std::string aside_suffix = ".old.partial";

/// The old bundle beside `folder`, as `.NAME.*.old.partial/NAME`.
std::optional<fs::path> aside_of(const fs::path &folder) {
    const std::string name = folder.filename().string();
    const std::string prefix = "." + name + ".";
    const fs::path parent = folder.has_parent_path() ? folder.parent_path() : fs::path(".");
    std::vector<fs::path> found;
    std::error_code error;
    std::error_code ignored;
    fs::directory_iterator entry(parent, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
        const std::string beside = entry->path().filename().string();
        const bool fits = beside.size() >= prefix.size() + aside_suffix.size() && beside.rfind(prefix, 0) == 0 &&
                          beside.compare(beside.size() - aside_suffix.size(), aside_suffix.size(), aside_suffix) == 0;
        if (fits && fs::exists(entry->path() / name / "bundle.json", ignored)) found.push_back(entry->path() / name);
    }
    if (found.empty()) return std::nullopt;
    return *std::min_element(found.begin(), found.end());
}

bool is_there(const fs::path &folder) {
    std::error_code error;
    return fs::symlink_status(folder, error).type() != fs::file_type::not_found;
}

}  // namespace

fs::path find_bundle(const fs::path &folder) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!is_there(folder)) {
        const std::optional<fs::path> aside = aside_of(folder);
        if (!aside) return folder;
        const int descriptor = ::open(aside->parent_path().c_str(), O_RDONLY | O_CLOEXEC);
        const bool is_held = descriptor >= 0 && ::flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        std::error_code error;
        if (is_held && std::chrono::steady_clock::now() < deadline) {
            ::close(descriptor);
            std::this_thread::sleep_for(pause);  // an export is between its two renames
            continue;
        }
        fs::rename(*aside, folder, error);
        fs::remove(aside->parent_path(), error);
        if (descriptor >= 0) ::close(descriptor);
        if (!is_there(folder) && is_there(*aside)) return *aside;
    }
    return folder;
}

}  // namespace edgeproof
