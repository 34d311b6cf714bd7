#pragma once

#include <filesystem>
#include <string>

#include "edgeproof/bundle.h"

namespace edgeproof {

/// How far the files of parts are checked: reading an engine's file checks its hash anyway.
enum class Check { sizes, hashes };

/// Add the attachments to a bundle with what bundle.json lists. Damaged and missing parts are left out. The same rules
/// as `edgeproof_runtime.bundle.contents`.
void add_attachments(Bundle &bundle, Check check);

/// Path of a listed file, of which presence and size were checked. Throws `Failure` (bad input).
std::filesystem::path present(const std::filesystem::path &folder, const std::string &file, const FileEntry &entry);

/// Like `present`, with the sha256 checked as well.
std::filesystem::path whole(const std::filesystem::path &folder, const std::string &file, const FileEntry &entry);

}  // namespace edgeproof
