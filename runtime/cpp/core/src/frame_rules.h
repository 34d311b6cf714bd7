#pragma once

#include <cstdint>
#include <string_view>

#include "arithmetic.h"
#include "edgeproof/contract.h"
#include "edgeproof/frame.h"
#include "tensor_writer.h"

namespace edgeproof::detail {

std::string_view name_of(FrameDtype dtype);

/// Throws `Error` (kind frame): the frame's format, channels or dtype are not what the contract takes.
void check_frame(const Frame &frame, const Contract &contract);

/// Of a frame's resampled pixels the byte that each channel of the tensor is made of.
ChannelMap channel_map(const Frame &frame, Color target);

/// The weights of a YUV frame's matrix and range.
const YuvWeights &yuv_weights(YuvMatrix matrix, YuvRange range);

/// `count` pixels of a YUV frame's row from column `x` on, as BGR.
void yuv_row_to_bgr(const Frame &frame, std::int64_t row, std::int64_t x, std::int64_t count, std::uint8_t *bgr);

}  // namespace edgeproof::detail
