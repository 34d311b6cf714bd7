#pragma once

#include <opencv2/core.hpp>

#include "sources/libav/handles.h"

namespace edgeproof::app::libav {

/// Converts decoded frames to BGR, by the matrix and the range that they are flagged with.
class Converter {
  public:
    /// BGR uint8 of the frame's size. An empty image where FFmpeg cannot convert the frame.
    cv::Mat operator()(const AVFrame &frame);

  private:
    bool configure(const AVFrame &frame);

    ScalerHandle scaler_;
    int width_ = 0;
    int height_ = 0;
    int format_ = AV_PIX_FMT_NONE;
    int matrix_ = -1;
    bool full_range_ = false;
};

}  // namespace edgeproof::app::libav
