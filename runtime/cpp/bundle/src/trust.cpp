#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <sstream>

#include "edgeproof/engine_record.h"
#include "edgeproof/json.h"
#include "files.h"

namespace edgeproof {
namespace {

/// Whether nobody but this user and root can have written a file.
bool is_own(const std::filesystem::path &path) {
    struct stat found{};
    return ::stat(path.c_str(), &found) == 0 && (found.st_uid == ::geteuid() || found.st_uid == 0) &&
           (found.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

bool is_named(const std::string &sha256) {
    const char *named = std::getenv(spec::trust_variable.data());
    std::string text = named == nullptr ? "" : named;
    for (char &c : text)
        if (c == ',') c = ' ';
    std::istringstream words(text);
    for (std::string word; words >> word;)
        if (word == sha256) return true;
    return false;
}

}  // namespace

bool is_trusted(const std::string &sha256) {
    if (is_named(sha256)) return true;
    const std::filesystem::path cache = cache_folder();
    if (cache.empty()) return false;
    const std::filesystem::path path = cache / "trusted-engines" / (sha256 + ".json");
    if (!is_own(path)) return false;
    try {
        const json::Value raw = json::parse(read_file(path, spec::max_json_bytes));
        return raw.at("schema").string() == spec::trust_schema && raw.at("sha256").string() == sha256;
    } catch (const std::exception &) {  // damaged: as if it were not there
        return false;
    }
}

}  // namespace edgeproof
