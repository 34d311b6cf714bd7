#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "edgeproof/spec.h"

namespace edgeproof {

/// A regular file, opened once and never waited for: a FIFO, a device or a folder is not opened.
class RegularFile {
  public:
    /// Throws `Failure` (bad input): it cannot be opened, is not a regular file, or is larger than `max_bytes`.
    RegularFile(const std::filesystem::path &path, std::int64_t max_bytes);
    RegularFile(const RegularFile &) = delete;
    RegularFile &operator=(const RegularFile &) = delete;
    ~RegularFile();

    /// Read at most `size` bytes; 0 at the end. Throws `Failure` (bad input).
    std::size_t read(char *target, std::size_t size) const;
    std::size_t size() const { return size_; }

  private:
    std::filesystem::path path_;
    int descriptor_ = -1;
    std::size_t size_ = 0;
};

/// The whole content of a regular file. Throws `Failure` (bad input) like `RegularFile`, or if it changes meanwhile.
std::string read_file(const std::filesystem::path &path, std::int64_t max_bytes = spec::max_compiled_bytes);

/// Whether a name is a plain relative path that stays below its folder.
bool is_plain(const std::string &name);

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

/// As `edgeproof_runtime.system.files.cache_folder`; empty without a home.
std::filesystem::path cache_folder();

}  // namespace edgeproof
