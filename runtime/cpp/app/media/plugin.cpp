// The library edgeproof-media.so: everything of OpenCV besides its core.

#include <opencv2/imgcodecs.hpp>
#include <vector>

#include "media/parts.h"

namespace edgeproof::app {
namespace {

cv::Mat decode(const std::string &data, int flags) {
    const cv::Mat bytes(1, static_cast<int>(data.size()), CV_8U, const_cast<char *>(data.data()));
    return cv::imdecode(bytes, flags);
}

std::string encode_png(const cv::Mat &picture) {
    std::vector<unsigned char> png;
    cv::imencode(".png", picture, png);
    return {png.begin(), png.end()};
}

bool has_reader(const std::string &file) { return cv::haveImageReader(file); }

constexpr Media functions{decode,         decode_tiff, encode_png, make_thumbnail, has_reader, open_video, open_webp,
#ifdef EDGEPROOF_OPENCV_DNN
                          load_opencv_dnn
#else
                          nullptr
#endif
};

}  // namespace
}  // namespace edgeproof::app

extern "C" const edgeproof::app::Media *edgeproof_media() { return &edgeproof::app::functions; }
