#pragma once

#include <opencv2/core.hpp>

#include "edgeproof/error.h"
#include "edgeproof/frame.h"

namespace edgeproof::app {

/// The core's view of OpenCV's pixels. Throws `Error` (kind frame): not 8 bits, or not of 1 or 3 channels.
inline Frame view_of(const cv::Mat &image) {
    if (image.dims != 2 || image.depth() != CV_8U || (image.channels() != 1 && image.channels() != 3)) {
        throw Error(
            Error::Kind::frame, "the frame has a format that no contract can be applied to",
            std::to_string(image.channels()) + " channels of " + std::to_string(8 * image.elemSize1()) + " bits",
            "1 or 3 channels of 8 bits");
    }
    return Frame::packed(image.data, image.rows, image.cols, image.channels(), Color::bgr,
                         static_cast<std::ptrdiff_t>(image.step[0]));
}

}  // namespace edgeproof::app
