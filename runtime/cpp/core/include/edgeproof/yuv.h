#pragma once

#include <cstdint>

#include "edgeproof/frame.h"

namespace edgeproof {

/// Write the BGR image that a YUV frame stands for: height x width x 3 bytes. Each chroma sample counts for its two or
/// four pixels, in integers of 2^-20; BT.601 in limited range equals cv::cvtColor.
/// Throws `Error` (kind frame): a side is odd that the format requires to be even.
void yuv_to_bgr(const Frame &frame, std::uint8_t *out);

}  // namespace edgeproof
