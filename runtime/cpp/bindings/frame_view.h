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

}  // namespace edgeproof::bindings
