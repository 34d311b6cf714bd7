#pragma once

#include <opencv2/core.hpp>
#include <optional>
#include <string>

namespace edgeproof::app {

/// Whether a JPEG's end marker is there. libjpeg gives half an image for half a file.
bool jpeg_is_complete(const std::string &data);

/// BGR pixels of a JPEG, turned upright as its EXIF data says unless `upright` is false: what `cv::imdecode` gives. Nothing where this program
/// was built without libjpeg-turbo, or the file is one for OpenCV to judge (CMYK, damaged, no JPEG at all).
std::optional<cv::Mat> decode_jpeg(const std::string &data, bool upright = true);

}  // namespace edgeproof::app
