#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace edgeproof {

/// Bytes that no other process can change: what was hashed is what an engine reads, whatever becomes of the file.
/// They lie in sealed memory. Mirrors `edgeproof_runtime.system.private_copy`.
class PrivateCopy {
  public:
    /// Copy a regular file that is opened once, and hash what was copied. Throws `Failure` (bad input): it cannot be
    /// read, is empty, is not a regular file, or is larger than `max_bytes`.
    PrivateCopy(const std::filesystem::path &file, std::int64_t max_bytes);
    /// Copy bytes.
    explicit PrivateCopy(std::string_view content);
    PrivateCopy(PrivateCopy &&other) noexcept;
    PrivateCopy(const PrivateCopy &) = delete;
    PrivateCopy &operator=(const PrivateCopy &) = delete;
    ~PrivateCopy();

    /// Where a library that takes only paths finds the bytes, in this process.
    std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }
    std::string_view content() const { return {view_, size_}; }
    /// Hash of the bytes, in hexadecimal.
    const std::string &sha256() const { return sha256_; }

  private:
    void create();
    void write(std::string_view piece) const;
    void finish();

    int descriptor_ = -1;
    const char *view_ = nullptr;
    std::size_t size_ = 0;
    std::string sha256_;
};

}  // namespace edgeproof
