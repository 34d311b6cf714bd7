#pragma once

#include <memory>
#include <opencv2/core.hpp>
#include <optional>
#include <string>

#include "edgeproof/geometry.h"
#include "engines/base.h"
#include "sources/base.h"
#include "sources/options.h"

namespace edgeproof::app {

/// Where a model found something: values, in units of the score, over a part of the frame.
struct HeatMap {
    const float *values;
    int rows;
    int columns;
    double threshold;  ///< above it is a defect
    Region region;
};

/// A frame shrunk to at most 320 pixels a side.
struct Thumbnail {
    std::string jpeg;
    int width = 0;
    int height = 0;
};

/// The parts of OpenCV that one JPEG and a compiled engine do not need: a library of its own, because Debian's OpenCV
/// brings 220 others (GDAL, FFmpeg, GStreamer), a quarter of a second and 70 MB.
struct Media {
    enum class Kind { file, url, camera, pipeline };

    /// Pixels of an encoded image as `cv::imdecode` gives them; empty where it cannot be decoded.
    cv::Mat (*decode)(const std::string &data, int flags);
    /// Pixels of a TIFF file with any number of bands, in the file's order. Throws `Failure` (bad input): damaged, of
    /// another dtype than uint8, uint16 and float32, or this program was built without libtiff.
    cv::Mat (*decode_tiff)(const std::string &data);
    /// The PNG file of an image.
    std::string (*encode_png)(const cv::Mat &picture);
    /// A frame (gray, BGR, or one that `visible` shows) for a report, with what was found in it drawn over it.
    Thumbnail (*thumbnail)(const cv::Mat &frame, const std::optional<HeatMap> &heat);
    bool (*has_reader)(const std::string &file);
    /// Open a video; `name` and `fix` are for messages. Throws `Failure` (bad input).
    std::unique_ptr<Source> (*open_video)(Kind kind, const std::string &target, const std::string &name,
                                          const std::string &fix, const TimeLimits &limits);
    /// Open an animated WebP. Throws `Failure`: damaged (bad input), or built without libwebp (unavailable).
    std::unique_ptr<Source> (*open_webp)(const std::string &path, const std::string &name);
    /// The engine `opencv`; null where OpenCV was built without its module dnn.
    std::unique_ptr<Engine> (*load_dnn)(const ModelArtifact &model);
};

/// Loaded when it is first asked for. Throws `Failure` (unavailable) where the library does not load.
const Media &media();

}  // namespace edgeproof::app
