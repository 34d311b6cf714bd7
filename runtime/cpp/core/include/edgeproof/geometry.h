#pragma once

#include <cstdint>

#include "edgeproof/contract.h"

namespace edgeproof {

/// Longest side of a frame, and of a frame after its resize, in pixels.
constexpr std::int64_t max_frame_side = 1 << 20;

/// One axis of the way from the frame to the tensor; all lengths in pixels. Frame pixels [box_start, box_start + box)
/// are resampled to `resized` pixels, of which `keep` pixels from `keep_start` on land at `pad_start` of the tensor.
struct Axis {
    std::int64_t box_start = 0;
    std::int64_t box = 0;
    std::int64_t resized = 0;
    std::int64_t keep_start = 0;
    std::int64_t keep = 0;
    std::int64_t pad_start = 0;
};

/// Both axes of a frame under a contract, and which is resampled first.
struct Geometry {
    Axis y;
    Axis x;
    bool vertical_first = false;
};

/// Geometry of a frame of height x width pixels. Rounding follows torchvision (`_compute_resized_output_size`,
/// `center_crop`), timm (`ResizeKeepRatio`, `center_crop_or_pad`) and EfficientNet's `crop_fraction` reference.
/// Throws `Error` (kind frame): the frame is empty, or it or its resized form passes `max_frame_side`.
Geometry plan(const Contract &contract, std::int64_t height, std::int64_t width);

/// A rectangle in a frame, in pixels; it reaches beyond the frame where the tensor was padded.
struct Region {
    double top = 0.0;
    double left = 0.0;
    double height = 0.0;
    double width = 0.0;
};

/// The part of a frame of height x width pixels that the input tensor shows. Throws like `plan`.
Region tensor_region(const Contract &contract, std::int64_t height, std::int64_t width);

}  // namespace edgeproof
