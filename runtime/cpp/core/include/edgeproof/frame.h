#pragma once

#include <cstddef>
#include <cstdint>

#include "edgeproof/contract.h"

namespace edgeproof {

/// A view of somebody's pixels: height x width x channels, strides in bytes, of any sign and size.
struct Frame {
    const std::uint8_t *data = nullptr;  ///< first byte of the first pixel
    std::int64_t height = 0;
    std::int64_t width = 0;
    int channels = 3;          ///< 1 (gray) or 3; for a contract of color `channels`, as many as the contract's
    Color color = Color::bgr;  ///< order of three channels; looked at for contracts of color rgb, bgr and gray
    std::ptrdiff_t row_stride = 0;
    std::ptrdiff_t column_stride = 0;
    std::ptrdiff_t channel_stride = 1;
    FrameDtype dtype = FrameDtype::uint8;
    /// Other than `bgr`: `data` and `row_stride` are those of the luma (yuyv: of all), and the first plane of `chroma` is
    /// U, or UV interleaved (nv12). `channels` must be 3, and the other strides are not looked at.
    PixelFormat format = PixelFormat::bgr;
    YuvMatrix matrix = YuvMatrix::bt601;
    YuvRange range = YuvRange::limited;
    const std::uint8_t *chroma[2] = {nullptr, nullptr};
    std::ptrdiff_t chroma_stride = 0;

    /// Interleaved pixels, as cv::Mat holds them; `row_stride` is cv::Mat::step, 0 for rows without gaps.
    static Frame packed(const std::uint8_t *data, std::int64_t height, std::int64_t width, int channels,
                        Color color = Color::bgr, std::ptrdiff_t row_stride = 0,
                        FrameDtype dtype = FrameDtype::uint8) {
        const std::ptrdiff_t item = item_bytes(dtype);
        const std::ptrdiff_t gapless = static_cast<std::ptrdiff_t>(width) * channels * item;
        return {data, height, width, channels, color, row_stride == 0 ? gapless : row_stride, channels * item, item,
                dtype};
    }

    /// YUV in one block without gaps, as OpenCV has it: nv12 and i420 in height * 3 / 2 rows of `width` bytes, yuyv in
    /// rows of 2 * `width`. Height and width must be even (yuyv: the width).
    static Frame yuv(const std::uint8_t *data, std::int64_t height, std::int64_t width, PixelFormat format,
                     YuvMatrix matrix = YuvMatrix::bt601, YuvRange range = YuvRange::limited) {
        Frame frame;
        frame.data = data;
        frame.height = height;
        frame.width = width;
        frame.format = format;
        frame.matrix = matrix;
        frame.range = range;
        frame.row_stride = static_cast<std::ptrdiff_t>(width) * (format == PixelFormat::yuyv ? 2 : 1);
        frame.chroma_stride = static_cast<std::ptrdiff_t>(width) / (format == PixelFormat::i420 ? 2 : 1);
        if (format == PixelFormat::yuyv) return frame;
        frame.chroma[0] = data + height * width;
        frame.chroma[1] = frame.chroma[0] + (height / 2) * (width / 2);
        return frame;
    }

    /// Bytes of one channel of a pixel.
    static constexpr std::ptrdiff_t item_bytes(FrameDtype dtype) {
        return dtype == FrameDtype::uint8 ? 1 : dtype == FrameDtype::uint16 ? 2 : 4;
    }
};

}  // namespace edgeproof
