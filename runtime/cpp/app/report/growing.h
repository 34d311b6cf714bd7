#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace edgeproof::app {

/// When a file is set aside and a new one begun; nothing is deleted.
struct Rotation {
    std::optional<std::uint64_t> max_bytes;
    bool daily = false;
};

/// `day`, or a size such as `100MB` or `1GiB`. Throws `Failure` (bad input) for anything else.
Rotation parse_rotation(const std::string &text);

/// A text file that grows over many runs: `edgeproof_runtime.sinks.growing.GrowingFile` without header. Lines are
/// appended by one write each. A file that another program moved, removed or emptied is begun anew under its name. A
/// device, FIFO or `-` is written as a stream.
class GrowingFile {
  public:
    /// Throws `Failure` (bad input) if the file cannot be opened, as `write` does if it cannot be written.
    GrowingFile(std::filesystem::path path, const Rotation &rotation);
    ~GrowingFile();
    GrowingFile(const GrowingFile &) = delete;
    GrowingFile &operator=(const GrowingFile &) = delete;

    void write(const std::string &line);

  private:
    void open();
    void follow(std::size_t more);

    std::filesystem::path path_;
    Rotation rotation_;
    bool stream_;
    bool broken_ = false;
    std::int64_t day_ = 0;
    int descriptor_ = -1;
};

}  // namespace edgeproof::app
