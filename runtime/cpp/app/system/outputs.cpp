#include "system/outputs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "edgeproof/failure.h"
#include "files.h"

namespace edgeproof::app {
namespace {

namespace fs = std::filesystem;

struct Output {
    std::string option;
    fs::path path;
};

bool same_file(const fs::path &one, const fs::path &other) {
    std::error_code ignored;
    return fs::equivalent(one, other, ignored);
}

/// The path without links and dots, also where the file does not exist yet.
fs::path real(const fs::path &path) { return fs::weakly_canonical(fs::absolute(followed(path))); }

bool lies_in(const fs::path &path, const fs::path &folder) {
    for (fs::path place = path.parent_path(); place != place.parent_path(); place = place.parent_path())
        if (place == folder || same_file(place, folder)) return true;
    return false;
}

bool holds_hard_link(const fs::path &folder, const fs::path &path) {
    struct stat found {};
    if (::stat(path.c_str(), &found) != 0 || found.st_nlink < 2) return false;
    std::error_code error;
    for (auto at = fs::recursive_directory_iterator(folder, error); !error && at != fs::recursive_directory_iterator();
         at.increment(error))
        if (same_file(at->path(), path)) return true;
    return false;
}

void check_place(const Output &output, const fs::path &target) {
    std::error_code ignored;
    const fs::path &path = output.path;
    if (fs::is_directory(target, ignored)) throw bad_input(path.string() + ": is a folder", {}, "a file name");
    const fs::path folder = target.parent_path();
    if (!fs::is_directory(folder, ignored) || ::access(folder.c_str(), W_OK | X_OK) != 0)
        throw bad_input(path.string() + ": cannot be written", std::strerror(errno), {},
                        "choose a folder that exists and is writable");
    for (fs::path place = folder; place != place.parent_path(); place = place.parent_path())
        if (fs::is_regular_file(place / "bundle.json", ignored))
            throw bad_input(path.string() + ": lies in a bundle", place.string(), "a file outside of it");
}

void check_apart(const Output &output, const fs::path &target, const Options &options) {
    const fs::path &path = output.path;
    std::error_code ignored;
    for (const fs::path &input : {options.bundle, fs::path(options.source)}) {
        if (input.empty()) continue;
        if (same_file(target, input)) throw bad_input(path.string() + ": would be overwritten", "an input");
        if (!fs::is_directory(input, ignored)) continue;
        if (lies_in(target, fs::canonical(input, ignored)))
            throw bad_input(path.string() + ": lies in a folder that is read", input.string(), "a file outside of it");
        if (holds_hard_link(input, target))
            throw bad_input(path.string() + ": would be overwritten", "a hard link to a file in " + input.string());
    }
}

}  // namespace

bool check_outputs(const Options &options) {
    std::vector<Output> outputs;
    for (const auto &[option, path] :
         {std::pair("--predictions", options.predictions), {"--json", options.json}, {"--grid", options.grid}})
        if (path) outputs.push_back({option, *path});
    std::vector<std::pair<std::string, fs::path>> taken;
    bool on_standard_output = false;
    for (const Output &output : outputs) {
        fs::path key = "-";
        if (is_standard_output(output.path)) {
            on_standard_output = true;
        } else if (is_stream(output.path)) {
            key.clear();
            if (::access(output.path.c_str(), W_OK) != 0)
                throw bad_input(output.path.string() + ": cannot be written", std::strerror(errno));
        } else {
            key = real(output.path);
            check_place(output, key);
            check_apart(output, key, options);
        }
        for (const auto &[option, path] : taken)
            if (!key.empty() && (path == key || same_file(path, key)))
                throw bad_input(output.path.string() + ": would be overwritten",
                                option + " and " + output.option + " name it");
        if (!key.empty()) taken.emplace_back(output.option, key);
    }
    return on_standard_output;
}

}  // namespace edgeproof::app
