#include "sources/libav/convert.h"

extern "C" {
#include <libavutil/pixdesc.h>
}

#include <array>

namespace edgeproof::app::libav {
namespace {

/// FFmpeg's names for planes of full range that are older than its flag.
bool is_full_range(const AVFrame &frame) {
    switch (frame.format) {
        case AV_PIX_FMT_YUVJ420P:
        case AV_PIX_FMT_YUVJ422P:
        case AV_PIX_FMT_YUVJ444P:
        case AV_PIX_FMT_YUVJ440P:
        case AV_PIX_FMT_YUVJ411P: return true;
        default: return frame.color_range == AVCOL_RANGE_JPEG;
    }
}

}  // namespace

bool Converter::configure(const AVFrame &frame) {
    const bool full_range = is_full_range(frame);
    const int matrix = frame.colorspace;
    if (scaler_ && frame.width == width_ && frame.height == height_ && frame.format == format_ && matrix == matrix_ &&
        full_range == full_range_)
        return true;
    scaler_.reset(sws_getContext(frame.width, frame.height, static_cast<AVPixelFormat>(frame.format), frame.width,
                                 frame.height, AV_PIX_FMT_BGR24, SWS_BICUBIC, nullptr, nullptr, nullptr));
    if (!scaler_) return false;
    // BT.601 where a frame is not flagged, and no change for RGB. Fails for formats without a matrix.
    constexpr int unit = 1 << 16;
    sws_setColorspaceDetails(scaler_.get(), sws_getCoefficients(matrix), full_range ? 1 : 0,
                             sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, unit, unit);
    width_ = frame.width;
    height_ = frame.height;
    format_ = frame.format;
    matrix_ = matrix;
    full_range_ = full_range;
    return true;
}

cv::Mat Converter::operator()(const AVFrame &frame) {
    if (!configure(frame)) return {};
    // FFmpeg's kernels write whole groups of pixels, and leave the last group of a row that has no room for it.
    constexpr int group = 32;
    const cv::Mat padded(frame.height, (frame.width + group - 1) / group * group, CV_8UC3);
    const std::array<std::uint8_t *, 4> planes{padded.data};
    const std::array<int, 4> strides{static_cast<int>(padded.step[0])};
    const int rows = sws_scale(scaler_.get(), frame.data, frame.linesize, 0, frame.height, planes.data(),
                               strides.data());
    if (rows != frame.height) return {};
    return padded.colRange(0, frame.width);
}

}  // namespace edgeproof::app::libav
