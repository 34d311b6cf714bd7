#pragma once

#include <cstdint>
#include <opencv2/core.hpp>

namespace edgeproof::app::libav {

/// How a decoded image becomes upright: by transposing it, then by mirroring columns and rows.
struct Turn {
    bool transpose = false;
    bool mirror_columns = false;
    bool mirror_rows = false;

    bool none() const { return !transpose && !mirror_columns && !mirror_rows; }
};

/// The turn of a display matrix (ISO/IEC 14496-12, 6.2.2); none for null, and for others than right angles.
Turn turn_of(const std::int32_t *matrix);

/// The image turned; the image itself where there is nothing to do.
cv::Mat turned(const cv::Mat &picture, const Turn &turn);

}  // namespace edgeproof::app::libav
