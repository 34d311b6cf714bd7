#include "edgeproof/private_copy.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "edgeproof/failure.h"
#include "files.h"
#include "sha256.h"

namespace edgeproof {
namespace {

constexpr std::size_t piece_bytes = std::size_t{1} << 18;  // stays in the CPU's cache while it is read, hashed, written

[[noreturn]] void fail(const char *what) {
    throw unavailable(std::string("private copy of a model: ") + what, std::strerror(errno), {}, "free some memory");
}

}  // namespace

PrivateCopy::PrivateCopy(const std::filesystem::path &file, std::int64_t max_bytes) {
    const RegularFile source(file, max_bytes);
    create();
    try {
        Sha256 hash;
        std::vector<char> piece(piece_bytes);
        while (const std::size_t count = source.read(piece.data(), piece.size())) {
            hash.update({piece.data(), count});
            write({piece.data(), count});
            size_ += count;
        }
        if (size_ == 0) throw bad_input(file.string() + ": cannot be read", "an empty file");
        sha256_ = hash.hex();
        finish();
    } catch (...) {
        ::close(descriptor_);
        throw;
    }
}

PrivateCopy::PrivateCopy(std::string_view content) {
    create();
    try {
        write(content);
        size_ = content.size();
        Sha256 hash;
        hash.update(content);
        sha256_ = hash.hex();
        finish();
    } catch (...) {
        ::close(descriptor_);
        throw;
    }
}

PrivateCopy::PrivateCopy(PrivateCopy &&other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), view_(std::exchange(other.view_, nullptr)),
      size_(std::exchange(other.size_, 0)), sha256_(std::move(other.sha256_)) {}

PrivateCopy::~PrivateCopy() {
    if (view_ != nullptr) ::munmap(const_cast<char *>(view_), size_);
    if (descriptor_ >= 0) ::close(descriptor_);
}

void PrivateCopy::create() {
    descriptor_ = ::memfd_create("edgeproof", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (descriptor_ < 0) fail("cannot be made");
}

void PrivateCopy::write(std::string_view piece) const {
    while (!piece.empty()) {
        const ssize_t wrote = ::write(descriptor_, piece.data(), piece.size());
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) fail("cannot be written");
        piece.remove_prefix(static_cast<std::size_t>(wrote));
    }
}

void PrivateCopy::finish() {
    if (::fcntl(descriptor_, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
        fail("cannot be sealed");
    void *view = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor_, 0);
    if (view == MAP_FAILED) fail("cannot be mapped");
    view_ = static_cast<const char *>(view);
}

}  // namespace edgeproof
