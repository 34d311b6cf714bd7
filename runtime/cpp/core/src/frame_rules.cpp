#include "frame_rules.h"

#include <string>

#include "edgeproof/error.h"
#include "edgeproof/yuv.h"

namespace edgeproof {
namespace detail {
namespace {

// 2^20 times ITU-R BT.601's and BT.709's factors; black, luma, V to red, U and V to green, U to blue. BT.601 in limited
// range is OpenCV's, which rounds the factors to 1.164, 1.596, 0.391, 0.813 and 2.018.
constexpr YuvWeights weights_of[2][2] = {
    {{16, 1220542, 1673527, 409993, 852492, 2116026}, {0, 1048576, 1470104, 360853, 748826, 1858077}},
    {{16, 1220945, 1879825, 223607, 558796, 2215014}, {0, 1048576, 1651297, 196424, 490864, 1945738}},
};

void check_yuv(const Frame &frame, bool many) {
    const std::string format(pixel_format_names[static_cast<std::size_t>(frame.format)]);
    if (many) throw Error(Error::Kind::frame, "frame: a contract of color 'channels' takes no YUV", format, "bgr");
    const bool packed = frame.format == PixelFormat::yuyv;
    if (frame.width % 2 != 0 || (!packed && frame.height % 2 != 0))
        throw Error(Error::Kind::frame, "frame: odd sides are unsupported in " + format,
                    std::to_string(frame.width) + "x" + std::to_string(frame.height) + " pixels",
                    packed ? "an even width" : "an even width and height");
}

}  // namespace

std::string_view name_of(FrameDtype dtype) { return frame_dtype_names[static_cast<std::size_t>(dtype)]; }

const YuvWeights &yuv_weights(YuvMatrix matrix, YuvRange range) {
    return weights_of[static_cast<std::size_t>(matrix)][static_cast<std::size_t>(range)];
}

void check_frame(const Frame &frame, const Contract &contract) {
    const bool many = contract.color == Color::channels;
    if (frame.format != PixelFormat::bgr) check_yuv(frame, many);
    if (many ? frame.channels != contract.channels() : frame.channels != 1 && frame.channels != 3)
        throw Error(Error::Kind::frame, "frame: wrong shape", std::to_string(frame.channels) + " channels",
                    many ? std::to_string(contract.channels()) : "1 or 3");
    if (frame.dtype != contract.frame_dtype)
        throw Error(Error::Kind::frame, "frame: wrong dtype", std::string(name_of(frame.dtype)),
                    std::string(name_of(contract.frame_dtype)));
    if (!many && frame.channels == 3 && (frame.color == Color::gray || frame.color == Color::channels))
        throw Error(Error::Kind::frame, "frame: a gray frame must have one channel", "3", "color rgb or bgr");
    if (frame.data == nullptr && frame.height > 0 && frame.width > 0)
        throw Error(Error::Kind::frame, "frame: no pixels", "a null pointer", "the address of the first pixel");
}

ChannelMap channel_map(const Frame &frame, Color target) {
    if (target == Color::channels) return {frame.channels, 0, 1};
    if (frame.channels == 1 || target == Color::gray) return {1, 0, 0};
    if (frame.color == target) return {3, 0, 1};
    return {3, 2, -1};
}

void yuv_row_to_bgr(const Frame &frame, std::int64_t row, std::int64_t x, std::int64_t count, std::uint8_t *bgr) {
    const YuvWeights weights = yuv_weights(frame.matrix, frame.range);
    const bool packed = frame.format == PixelFormat::yuyv;
    const bool planar = frame.format == PixelFormat::i420;
    const std::uint8_t *luma = frame.data + row * frame.row_stride;
    const std::uint8_t *u = packed ? luma + 1 : frame.chroma[0] + (row / 2) * frame.chroma_stride;
    const std::uint8_t *v = packed ? luma + 3 : planar ? frame.chroma[1] + (row / 2) * frame.chroma_stride : u + 1;
    const std::int64_t luma_step = packed ? 2 : 1;
    const std::int64_t chroma_step = packed ? 4 : planar ? 1 : 2;
    for (std::int64_t i = x; i < x + count; ++i, bgr += 3)
        bgr_of_yuv(weights, luma[i * luma_step], u[i / 2 * chroma_step], v[i / 2 * chroma_step], bgr);
}

}  // namespace detail

void yuv_to_bgr(const Frame &frame, std::uint8_t *out) {
    detail::check_yuv(frame, false);
    for (std::int64_t y = 0; y < frame.height; ++y)
        detail::yuv_row_to_bgr(frame, y, 0, frame.width, out + 3 * y * frame.width);
}

}  // namespace edgeproof
