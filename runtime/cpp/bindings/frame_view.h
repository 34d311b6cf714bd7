#pragma once

#include <string>
#include <string_view>

#include "buffer.h"
#include "edgeproof/error.h"
#include "edgeproof/frame.h"

namespace edgeproof::bindings {

/// The pixels' formats, as the struct module calls them.
inline constexpr std::string_view frame_formats = "BHf";

inline FrameDtype frame_dtype_of(char format) {
    return format == 'B' ? FrameDtype::uint8 : format == 'H' ? FrameDtype::uint16 : FrameDtype::float32;
}

/// A view of an array of pixels, HxW or HxWxC.
inline Frame frame_of(const Buffer &pixels, std::string_view color) {
    if (pixels->ndim != 2 && pixels->ndim != 3)
        throw Error(Error::Kind::frame, "frame: wrong shape", std::to_string(pixels->ndim) + " dimensions",
                    "HxW or HxWxC");
    Frame frame;
    frame.data = static_cast<const std::uint8_t *>(pixels->buf);
    frame.height = pixels->shape[0];
    frame.width = pixels->shape[1];
    frame.row_stride = pixels->strides[0];
    frame.column_stride = pixels->strides[1];
    const Py_ssize_t channels = pixels->ndim == 3 ? pixels->shape[2] : 1;
    frame.channels = channels <= max_channels ? static_cast<int>(channels) : 0;
    frame.channel_stride = pixels->ndim == 3 ? pixels->strides[2] : 1;
    frame.dtype = frame_dtype_of(pixels->format[0]);
    frame.color = parse_color(color);
    return frame;
}

/// A YUV frame in one contiguous array: nv12 and i420 (height * 3 / 2) x width, yuyv height x width x 2.
inline Frame yuv_frame_of(const Buffer &pixels, std::string_view format, std::string_view matrix,
                          std::string_view range) {
    const PixelFormat kind = parse_pixel_format(format);
    const bool packed = kind == PixelFormat::yuyv;
    if (kind == PixelFormat::bgr)
        throw Error(Error::Kind::frame, "format: must be a YUV format", std::string(format), "nv12, i420 or yuyv");
    if (pixels->ndim != (packed ? 3 : 2) || (packed ? pixels->shape[2] != 2 : pixels->shape[0] % 3 != 0))
        throw Error(Error::Kind::frame, "frame: wrong shape for " + std::string(format), {},
                    packed ? "height x width x 2 bytes" : "(height * 3 / 2) x width bytes");
    const std::int64_t height = packed ? pixels->shape[0] : pixels->shape[0] / 3 * 2;
    return Frame::yuv(static_cast<const std::uint8_t *>(pixels->buf), height, pixels->shape[1], kind,
                      parse_yuv_matrix(matrix), parse_yuv_range(range));
}

}  // namespace edgeproof::bindings
