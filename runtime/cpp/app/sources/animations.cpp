#include "sources/animations.h"

#include <cstdint>
#include <fstream>
#include <string>

namespace edgeproof::app {
namespace {

constexpr int chunks_read = 64;  // of a PNG before its pixels

std::string take(std::ifstream &file, std::size_t size) {
    std::string bytes(size, '\0');
    file.read(bytes.data(), static_cast<std::streamsize>(size));
    bytes.resize(static_cast<std::size_t>(file.gcount()));
    return bytes;
}

unsigned byte_at(const std::string &bytes, std::size_t at) { return static_cast<unsigned char>(bytes[at]); }

/// Big-endian number of four bytes.
std::uint32_t number_at(const std::string &bytes, std::size_t at) {
    return byte_at(bytes, at) << 24 | byte_at(bytes, at + 1) << 16 | byte_at(bytes, at + 2) << 8 | byte_at(bytes, at + 3);
}

/// PNG specification (third edition), 11.3.3.1: the chunk acTL comes before the pixels.
bool png_is_animated(std::ifstream &file) {
    file.seekg(8);
    for (int i = 0; i < chunks_read; ++i) {
        const std::string head = take(file, 8);
        if (head.size() < 8 || head.compare(4, 4, "IDAT") == 0) return false;
        if (head.compare(4, 4, "acTL") == 0) {
            const std::string count = take(file, 4);
            return count.size() == 4 && number_at(count, 0) > 1;
        }
        file.seekg(static_cast<std::streamoff>(number_at(head, 0)) + 4, std::ios::cur);
    }
    return false;
}

void skip_colours(std::ifstream &file, unsigned flags) {
    if ((flags & 0x80U) != 0) file.seekg(3LL << ((flags & 7U) + 1), std::ios::cur);
}

/// Walk the blocks of a GIF (GIF89a specification) up to its second image.
bool gif_has_two(std::ifstream &file) {
    file.seekg(10);
    const std::string screen = take(file, 3);
    if (screen.size() == 3) skip_colours(file, byte_at(screen, 0));
    int images = 0;
    while (true) {
        const std::string kind = take(file, 1);
        if (kind == "!") {
            file.seekg(1, std::ios::cur);
        } else if (kind == ",") {
            if (++images == 2) return true;
            const std::string image = take(file, 9);
            if (image.size() == 9) skip_colours(file, byte_at(image, 8));
            file.seekg(1, std::ios::cur);
        } else {
            return false;
        }
        for (std::string length = take(file, 1); length.size() == 1 && length[0] != 0; length = take(file, 1))
            file.seekg(byte_at(length, 0), std::ios::cur);
    }
}

}  // namespace

Animation animation_of(const std::filesystem::path &path) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) return Animation::none;  // opening a FIFO waits for its writer
    std::ifstream file(path, std::ios::binary);
    const std::string head = take(file, 30);
    file.clear();
    if (head.compare(0, 6, "GIF87a") == 0 || head.compare(0, 6, "GIF89a") == 0)
        return gif_has_two(file) ? Animation::other : Animation::none;
    if (head.compare(0, 8, "\x89PNG\r\n\x1a\n") == 0)
        return png_is_animated(file) ? Animation::other : Animation::none;
    const bool webp = head.size() == 30 && head.compare(0, 4, "RIFF") == 0 && head.compare(8, 8, "WEBPVP8X") == 0;
    return webp && (byte_at(head, 20) & 2U) != 0 ? Animation::webp : Animation::none;
}

}  // namespace edgeproof::app
