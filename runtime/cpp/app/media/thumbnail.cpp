// Part of the library edgeproof-media.so: frames as a report shows them.

#include <algorithm>
#include <cmath>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <vector>

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

/// As numpy.percentile, between the values next to it.
float percentile(std::vector<float> values, double share) {
    const double at = share * static_cast<double>(values.size() - 1);
    const auto low = static_cast<std::size_t>(at);
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(low);
    std::nth_element(values.begin(), middle, values.end());
    const float below = *middle;
    const float above = low + 1 < values.size() ? *std::min_element(middle + 1, values.end()) : below;
    return below + (above - below) * static_cast<float>(at - static_cast<double>(low));
}

}  // namespace

cv::Mat visible(const cv::Mat &frame) {
    if (frame.depth() == CV_8U && (frame.channels() == 1 || frame.channels() == 3)) return frame;
    std::vector<cv::Mat> bands(static_cast<std::size_t>(std::min(frame.channels(), 3)));
    for (int c = 0; c < static_cast<int>(bands.size()); ++c) {
        cv::Mat band;
        cv::extractChannel(frame, band, c);
        band.convertTo(bands[static_cast<std::size_t>(c)], CV_32F);
    }
    if (bands.size() == 2) bands[0] = (bands[0] + bands[1]) / 2;
    if (bands.size() < 3) bands = {bands[0], bands[0].clone(), bands[0].clone()};
    std::reverse(bands.begin(), bands.end());  // red is the first band, and comes last
    cv::Mat shown;
    cv::merge(bands, shown);
    if (frame.depth() != CV_8U) {
        std::vector<float> values(shown.ptr<float>(), shown.ptr<float>() + shown.total() * 3);
        for (float &value : values) value = std::isfinite(value) ? value : 0.0F;
        const float low = percentile(values, 0.02);
        const float high = percentile(values, 0.98);
        shown = cv::Mat(frame.rows, frame.cols, CV_32FC3, values.data()).clone();
        shown = (shown - cv::Scalar::all(low)) * (255.0 / std::max(high - low, 1e-12F));
    }
    cv::Mat picture;
    shown.convertTo(picture, CV_8U);
    return picture;
}

Thumbnail make_thumbnail(const cv::Mat &frame, const std::optional<HeatMap> &heat) {
    const cv::Mat shown = visible(frame);
    cv::Mat picture = heat ? with_heat(shown, *heat) : shown;
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
