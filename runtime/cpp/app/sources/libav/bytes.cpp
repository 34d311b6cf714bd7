#include "sources/libav/bytes.h"

extern "C" {
#include <libavutil/mem.h>
}

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>

#include "sources/text.h"

namespace edgeproof::app::libav {
namespace {

constexpr int buffer_bytes = 32 * 1024;
constexpr int check_interval_ms = 50;

class Descriptor : public Bytes {
  public:
    Descriptor(int descriptor, Interrupt &interrupt) : descriptor_(descriptor), interrupt_(interrupt) {}
    ~Descriptor() override { ::close(descriptor_); }

  private:
    int read(std::uint8_t *buffer, int size) override {
        pollfd ready{descriptor_, POLLIN, 0};
        while (!interrupt_.due()) {
            const int found = ::poll(&ready, 1, check_interval_ms);
            if (found < 0 && errno != EINTR) return AVERROR(errno);
            if (found <= 0) continue;
            const ssize_t count = ::read(descriptor_, buffer, static_cast<std::size_t>(size));
            if (count >= 0) return static_cast<int>(count);
            if (errno != EINTR && errno != EAGAIN) return AVERROR(errno);
        }
        return AVERROR_EXIT;
    }

    int descriptor_;
    Interrupt &interrupt_;
};

class Prefixed : public Bytes {
  public:
    Prefixed(std::string prefix, AVIOContext *inner) : prefix_(std::move(prefix)), inner_(inner) {}
    ~Prefixed() override { avio_closep(&inner_); }

  private:
    int read(std::uint8_t *buffer, int size) override {
        if (prefix_.empty()) return avio_read_partial(inner_, buffer, size);
        const std::size_t count = std::min(prefix_.size(), static_cast<std::size_t>(size));
        std::memcpy(buffer, prefix_.data(), count);
        prefix_.erase(0, count);
        return static_cast<int>(count);
    }

    std::string prefix_;
    AVIOContext *inner_;
};

}  // namespace

Bytes::Bytes() {
    auto *buffer = static_cast<unsigned char *>(av_malloc(buffer_bytes));
    context_ = buffer != nullptr ? avio_alloc_context(buffer, buffer_bytes, 0, this, callback, nullptr, nullptr)
                                 : nullptr;
    if (context_ == nullptr) {
        av_free(buffer);
        throw std::bad_alloc();
    }
}

Bytes::~Bytes() {
    av_freep(&context_->buffer);
    avio_context_free(&context_);
}

int Bytes::callback(void *self, std::uint8_t *buffer, int size) {
    const int count = static_cast<Bytes *>(self)->read(buffer, size);
    return count == 0 ? AVERROR_EOF : count;
}

std::unique_ptr<Bytes> bytes_of(int descriptor, Interrupt &interrupt) {
    return std::make_unique<Descriptor>(descriptor, interrupt);
}

std::unique_ptr<Bytes> with_first_boundary(AVIOContext *inner) {
    std::string begin(64, '\0');
    const int count = avio_read(inner, reinterpret_cast<unsigned char *>(begin.data()), static_cast<int>(begin.size()));
    begin.resize(static_cast<std::size_t>(std::max(count, 0)));
    const std::size_t first = begin.find_first_not_of("\r\n \t");
    const std::string text = first == std::string::npos ? std::string() : begin.substr(first);
    std::string missing;
    if (begins_in_any_case(text, "Content-")) missing = "--edgeproof\r\n";
    if (begins_in_any_case(text, "\xff\xd8")) missing = "--edgeproof\r\nContent-Type: image/jpeg\r\n\r\n";
    if (missing.empty() && avio_seek(inner, 0, SEEK_SET) == 0) return nullptr;
    return std::make_unique<Prefixed>(missing + (missing.empty() ? begin : text), inner);
}

}  // namespace edgeproof::app::libav
