#pragma once

#include <filesystem>
#include <string>

namespace edgeproof::app {

/// The whole content of a file. Throws `Failure` (bad input) where it cannot be read.
std::string read_file(const std::filesystem::path &path);

/// Write a file so that a reader, or a power cut, finds the old content or the new one, never a part.
/// Throws `Failure` (bad input) where the place cannot be written; nothing is left behind.
void write_atomically(const std::filesystem::path &path, const std::string &content);

}  // namespace edgeproof::app
