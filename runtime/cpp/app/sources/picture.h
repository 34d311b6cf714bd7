#pragma once

#include <opencv2/core.hpp>

#include "edgeproof/error.h"
#include "edgeproof/frame.h"

namespace edgeproof::app {

/// The core's view of OpenCV's pixels. Throws `Error` (kind frame): no contract has frames of this format.
inline Frame view_of(const cv::Mat &image) {
    const int depth = image.depth();
    if (image.dims != 2 || (depth != CV_8U && depth != CV_16U && depth != CV_32F)) {
        throw Error(
            Error::Kind::frame, "the frame has a format that no contract can be applied to",
            std::to_string(image.channels()) + " channels of " + std::to_string(8 * image.elemSize1()) + " bits",
            "uint8, uint16 or float32");
    }
    const FrameDtype dtype = depth == CV_8U    ? FrameDtype::uint8
                             : depth == CV_16U ? FrameDtype::uint16
                                               : FrameDtype::float32;
    return Frame::packed(image.data, image.rows, image.cols, image.channels(), Color::bgr,
                         static_cast<std::ptrdiff_t>(image.step[0]), dtype);
}

}  // namespace edgeproof::app
