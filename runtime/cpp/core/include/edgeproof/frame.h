#pragma once

#include <cstddef>
#include <cstdint>

#include "edgeproof/contract.h"

namespace edgeproof {

/// A view of somebody's uint8 pixels: height x width x channels, strides in bytes, of any sign and size.
struct Frame {
    const std::uint8_t *data = nullptr;
    std::int64_t height = 0;
    std::int64_t width = 0;
    int channels = 3;          ///< 1 (gray) or 3
    Color color = Color::bgr;  ///< order of three channels; not looked at for one
    std::ptrdiff_t row_stride = 0;
    std::ptrdiff_t column_stride = 0;
    std::ptrdiff_t channel_stride = 1;

    /// Interleaved pixels, as cv::Mat holds them; `row_stride` is cv::Mat::step, 0 for rows without gaps.
    static Frame packed(const std::uint8_t *data, std::int64_t height, std::int64_t width, int channels,
                        Color color = Color::bgr, std::ptrdiff_t row_stride = 0) {
        const std::ptrdiff_t gapless = static_cast<std::ptrdiff_t>(width) * channels;
        return {data, height, width, channels, color, row_stride == 0 ? gapless : row_stride, channels, 1};
    }
};

}  // namespace edgeproof
