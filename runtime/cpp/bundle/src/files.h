#pragma once

#include <filesystem>
#include <string>

namespace edgeproof {

/// The whole content of a file. Throws `Failure` (bad input) where it cannot be read.
std::string read_file(const std::filesystem::path &path);

/// Throws `Failure` (bad input) where a file at this place could not be written: it is a folder, its folder is missing
/// or not writable, or it is the `source` that is to be read.
void check_writable(const std::filesystem::path &path, const std::filesystem::path &source);

/// Write a file so that a reader, or a power cut, finds the old content or the new one, never a part.
/// Throws `Failure` (bad input) where the place cannot be written; nothing is left behind.
void write_atomically(const std::filesystem::path &path, const std::string &content);

}  // namespace edgeproof
