#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace edgeproof {

/// The whole content of a file. Throws `Failure` (bad input) if it cannot be read.
std::string read_file(const std::filesystem::path &path);

/// Whether a path is `-` or names standard output, such as `/dev/stdout`.
bool is_standard_output(const std::filesystem::path &path);

/// Whether a path names standard output, another descriptor of this process, a device, FIFO or socket.
bool is_stream(const std::filesystem::path &path);

/// Open what `is_stream` recognises for writing; the caller closes the descriptor. Throws `Failure` (bad input) if it
/// cannot be opened, is a block device, or no process opens a FIFO for reading within 10 s.
int open_stream(const std::filesystem::path &path);

/// Write everything to a descriptor; false with `errno` if it cannot be written.
bool write_all(int descriptor, const std::string &content);

/// The file that a path names, links followed, also where it does not exist yet. Throws `Failure` (bad input) for
/// links in a circle.
std::filesystem::path followed(const std::filesystem::path &path);

/// Write a file atomically: a reader finds the old content or the new, never a part, even after a power cut. A link
/// stays; the file that it names is written and keeps its mode and owner. Streams are written and never replaced.
/// Throws `Failure` (bad input) if it cannot be written; no temporary file is left.
void write_atomically(const std::filesystem::path &path, const std::string &content);

}  // namespace edgeproof
