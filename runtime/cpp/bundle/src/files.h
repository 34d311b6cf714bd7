#pragma once

#include <filesystem>
#include <string>

namespace edgeproof {

/// The whole content of a file. Throws `Failure` (bad input) if it cannot be read.
std::string read_file(const std::filesystem::path &path);

/// Throws `Failure` (bad input) if a file cannot be written at this path: it is a folder, its folder is missing or not
/// writable, or it is the `source`.
void check_writable(const std::filesystem::path &path, const std::filesystem::path &source);

/// Write a file atomically: a reader finds the old content or the new, never a part, even after a power cut.
/// Throws `Failure` (bad input) if it cannot be written; no temporary file is left.
void write_atomically(const std::filesystem::path &path, const std::string &content);

}  // namespace edgeproof
