#include "sources/libav/turn.h"

namespace edgeproof::app::libav {

Turn turn_of(const std::int32_t *matrix) {
    if (matrix == nullptr) return {};
    // A point (x, y) is shown at (a x + c y, b x + d y).
    const std::int64_t a = matrix[0];
    const std::int64_t b = matrix[1];
    const std::int64_t c = matrix[3];
    const std::int64_t d = matrix[4];
    if (b == 0 && c == 0 && a != 0 && d != 0) return {false, a < 0, d < 0};
    if (a == 0 && d == 0 && b != 0 && c != 0) return {true, c < 0, b < 0};
    return {};
}

cv::Mat turned(const cv::Mat &picture, const Turn &turn) {
    if (turn.none()) return picture;
    cv::Mat result = picture;
    if (turn.transpose) cv::transpose(picture, result);
    if (turn.mirror_columns || turn.mirror_rows) {
        cv::Mat mirrored;
        cv::flip(result, mirrored, turn.mirror_columns && turn.mirror_rows ? -1 : turn.mirror_columns ? 1 : 0);
        result = mirrored;
    }
    return result;
}

}  // namespace edgeproof::app::libav
