// Part of the library edgeproof-media.so: frames as a report shows them.

#include <algorithm>
#include <cmath>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "media/parts.h"

namespace edgeproof::app {
namespace {

constexpr double longest_side = 320.0;
constexpr int jpeg_quality = 85;
constexpr float faintest = 0.6F;  // heat, in units of the threshold, that begins to show
constexpr float full = 1.4F;      // and that shows fully
constexpr float most_opaque = 0.65F;

/// `edgeproof_runtime.tasks.reconstruct.Anomaly.over`: the frame with the heat map over it.
cv::Mat with_heat(const cv::Mat &frame, const HeatMap &map) {
    cv::Mat heat(map.rows, map.columns, CV_32F);
    for (int i = 0; i < map.rows * map.columns; ++i) {
        const float value = map.values[i] / static_cast<float>(map.threshold);
        reinterpret_cast<float *>(heat.data)[i] = std::isfinite(value) ? value : full;
    }
    const double scale_y = map.rows / map.region.height;
    const double scale_x = map.columns / map.region.width;
    const cv::Matx23d to_heat(scale_x, 0.0, (0.5 - map.region.left) * scale_x - 0.5,  //
                              0.0, scale_y, (0.5 - map.region.top) * scale_y - 0.5);
    cv::Mat shown;
    cv::warpAffine(heat, shown, to_heat, frame.size(), cv::INTER_LINEAR | cv::WARP_INVERSE_MAP,
                   map.region.top <= 0 && map.region.left <= 0 ? cv::BORDER_REPLICATE : cv::BORDER_CONSTANT);
    shown = cv::max(0.0, cv::min(1.0, (shown - faintest) / (full - faintest)));
    cv::Mat levels;
    shown.convertTo(levels, CV_8U, 255.0);
    cv::Mat colors;
    cv::applyColorMap(levels, colors, cv::COLORMAP_TURBO);
    cv::Mat mixed;
    if (frame.channels() == 1) {
        cv::cvtColor(frame, mixed, cv::COLOR_GRAY2BGR);
    } else {
        mixed = frame.clone();
    }
    mixed.forEach<cv::Vec3b>([&shown, &colors](cv::Vec3b &pixel, const int *at) {
        const float opacity = most_opaque * std::sqrt(shown.at<float>(at[0], at[1]));
        const auto &color = colors.at<cv::Vec3b>(at[0], at[1]);
        for (int channel = 0; channel < 3; ++channel)
            pixel[channel] = cv::saturate_cast<unsigned char>(static_cast<float>(pixel[channel]) * (1 - opacity) +
                                                              static_cast<float>(color[channel]) * opacity);
    });
    return mixed;
}

}  // namespace

Thumbnail make_thumbnail(const cv::Mat &frame, const std::optional<HeatMap> &heat) {
    cv::Mat picture = heat ? with_heat(frame, *heat) : frame;
    const double shrink = std::min(1.0, longest_side / std::max(picture.rows, picture.cols));
    if (shrink < 1.0) {
        const cv::Size size(std::max(1, static_cast<int>(std::nearbyint(picture.cols * shrink))),
                            std::max(1, static_cast<int>(std::nearbyint(picture.rows * shrink))));
        cv::Mat small;
        cv::resize(picture, small, size, 0, 0, cv::INTER_AREA);
        picture = small;
    }
    std::vector<unsigned char> jpeg;
    cv::imencode(".jpg", picture, jpeg, {cv::IMWRITE_JPEG_QUALITY, jpeg_quality});
    return {{jpeg.begin(), jpeg.end()}, picture.cols, picture.rows};
}

}  // namespace edgeproof::app
