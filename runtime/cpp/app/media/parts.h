#pragma once

#include "media/media.h"

namespace edgeproof::app {

// What edgeproof-media.so is made of, besides OpenCV's codecs; `Media` says what each does.
cv::Mat decode_tiff(const std::string &data);
/// An image of a frame for people, as `edgeproof_runtime.data.bands.visible`.
cv::Mat visible(const cv::Mat &frame);
Thumbnail make_thumbnail(const cv::Mat &frame, const std::optional<HeatMap> &heat);
std::unique_ptr<Source> open_video(Media::Kind kind, const std::string &target, const std::string &name,
                                   const std::string &fix, const TimeLimits &limits);
std::unique_ptr<Source> open_webp(const std::string &path, const std::string &name);
#ifdef EDGEPROOF_OPENCV_DNN
std::unique_ptr<Engine> load_opencv_dnn(const ModelArtifact &model);
#endif

}  // namespace edgeproof::app
