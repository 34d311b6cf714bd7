#include "sources/jpeg.h"

#include <algorithm>
#include <functional>
#include <memory>

#include "edgeproof/spec.h"

#ifdef EDGEPROOF_TURBOJPEG
#include <turbojpeg.h>
#endif

namespace edgeproof::app {
namespace {

unsigned byte_at(const std::string &data, std::size_t at) { return static_cast<unsigned char>(data[at]); }

/// Segment by segment (ITU-T T.81, B.1.1), because an embedded thumbnail carries markers of its own. `visit` gets
/// marker, begin and end of a segment's content, and ends the walk by returning true. Returns whether it did.
bool find_segment(const std::string &data,
                  const std::function<bool(unsigned marker, std::size_t begin, std::size_t end)> &visit) {
    for (std::size_t at = 2; at + 1 < data.size();) {
        const unsigned marker = byte_at(data, at + 1);
        if (byte_at(data, at) != 0xFF || marker == 0xFF || marker == 0 || (marker & 0xF8) == 0xD0) {
            ++at;
            continue;
        }
        const bool has_length = marker != 0xD8 && marker != 0xD9 && marker != 0x01;
        if (has_length && at + 3 >= data.size()) return false;
        const std::size_t length =
            has_length ? std::max(2U, byte_at(data, at + 2) * 256U + byte_at(data, at + 3)) : std::size_t{0};
        if (visit(marker, at + 4, at + 2 + length)) return true;
        at += 2 + length;
    }
    return false;
}

#ifdef EDGEPROOF_TURBOJPEG
/// The tag Orientation of the first image file directory (Exif 2.32, 4.6.4); 1, upright, where there is none.
int orientation(const std::string &data) {
    int found = 1;
    find_segment(data, [&](unsigned marker, std::size_t begin, std::size_t end) {
        constexpr std::size_t header = 6 + 8;  // "Exif\0\0", then TIFF's byte order, 42 and offset
        if (marker == 0xDA) return true;       // the image itself
        if (marker != 0xE1 || end > data.size() || end < begin + header ||
            data.compare(begin, 6, std::string("Exif\0\0", 6)) != 0)
            return false;
        const std::size_t tiff = begin + 6;
        const bool little = data[tiff] == 'I';
        const auto number = [&](std::size_t at, int bytes) {
            std::size_t value = 0;
            for (int i = 0; i < bytes; ++i)
                value |= static_cast<std::size_t>(byte_at(data, tiff + at + static_cast<std::size_t>(i)))
                         << (8 * (little ? i : bytes - 1 - i));
            return value;
        };
        const std::size_t size = end - tiff;
        const std::size_t directory = number(4, 4);
        if (directory > size - 2) return true;
        const std::size_t entries = number(directory, 2);
        for (std::size_t i = 0, at = directory + 2; i < entries && at + 12 <= size; ++i, at += 12)
            if (number(at, 2) == 0x0112) found = static_cast<int>(number(at + 8, 2));
        return true;
    });
    return found;
}

void turn_upright(cv::Mat &image, int orientation) {
    if (orientation >= 5 && orientation <= 8) cv::transpose(image, image);
    switch (orientation) {
        case 2:
        case 6: cv::flip(image, image, 1); break;
        case 3:
        case 7: cv::flip(image, image, -1); break;
        case 4:
        case 8: cv::flip(image, image, 0); break;
        default: break;
    }
}
#endif

}  // namespace

bool jpeg_is_complete(const std::string &data) {
    return find_segment(data, [](unsigned marker, std::size_t, std::size_t) { return marker == 0xD9; });
}

#ifdef EDGEPROOF_TURBOJPEG
std::optional<cv::Mat> decode_jpeg(const std::string &data, bool upright) {
    const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
    const auto *bytes = reinterpret_cast<const unsigned char *>(data.data());
    int width = 0;
    int height = 0;
    int subsampling = 0;
    int space = 0;
    if (decoder == nullptr ||
        tjDecompressHeader3(decoder.get(), bytes, data.size(), &width, &height, &subsampling, &space) != 0)
        return std::nullopt;
    if (space == TJCS_CMYK || space == TJCS_YCCK || static_cast<std::int64_t>(width) * height > spec::max_image_pixels)  // OpenCV has a message for it
        return std::nullopt;
    cv::Mat image(height, width, CV_8UC3);
    if (tjDecompress2(decoder.get(), bytes, data.size(), image.data, width, 0, height, TJPF_BGR, 0) != 0)
        return std::nullopt;
    if (upright) turn_upright(image, orientation(data));
    return image;
}
#else
std::optional<cv::Mat> decode_jpeg(const std::string &, bool) { return std::nullopt; }
#endif

}  // namespace edgeproof::app
