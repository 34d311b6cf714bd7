#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <optional>
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

/// What this user of this machine recorded of an engine.
std::optional<json::Value> recorded(const std::string &sha256) {
    const std::filesystem::path cache = cache_folder();
    if (cache.empty()) return std::nullopt;
    const std::filesystem::path path = cache / "trusted-engines" / (sha256 + ".json");
    if (!is_own(path)) return std::nullopt;
    try {
        json::Value raw = json::parse(read_file(path, spec::max_json_bytes));
        if (raw.at("schema").string() == spec::trust_schema && raw.at("sha256").string() == sha256) return raw;
    } catch (const std::exception &) {  // damaged: as if it were not there
    }
    return std::nullopt;
}

}  // namespace

bool is_trusted(const std::string &sha256) { return is_named(sha256) || recorded(sha256).has_value(); }

bool is_built_here(const std::string &sha256, const std::string &onnx_sha256) {
    const std::optional<json::Value> found = recorded(sha256);
    if (!found) return false;
    const auto is = [&found](const char *field, const std::string &expected) {
        const json::Value *value = found->find(field);
        const auto *text = value == nullptr ? nullptr : std::get_if<std::string>(&value->data);
        return text != nullptr && *text == expected;
    };
    return is("why", "built here") && is("onnx_sha256", onnx_sha256);
}

void trust_signed(const std::string &sha256) {
    if (is_named(sha256)) return;
    const char *named = std::getenv(spec::trust_variable.data());
    const std::string known = named == nullptr || *named == '\0' ? "" : std::string(named) + " ";
    ::setenv(spec::trust_variable.data(), (known + sha256).c_str(), 1);  // for child processes
}

}  // namespace edgeproof
