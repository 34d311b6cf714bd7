#include "sources/bands.h"

#include <array>
#include <cstring>
#include <opencv2/imgcodecs.hpp>
#include <vector>

#include "edgeproof/failure.h"
#include "media/media.h"
#include "npy.h"
#include "sources/picture.h"

namespace edgeproof::app {
namespace {

std::string sides(const std::vector<std::int64_t> &shape) {
    std::string text;
    for (const std::int64_t side : shape) text += (text.empty() ? "" : "x") + std::to_string(side);
    return text;
}

std::string described(const Bands &bands) {
    return std::string(frame_dtype_names[static_cast<std::size_t>(bands.dtype)]) + " HxWx" +
           std::to_string(bands.channels);
}

int depth_of(FrameDtype dtype) {
    return dtype == FrameDtype::uint8 ? CV_8U : dtype == FrameDtype::uint16 ? CV_16U : CV_32F;
}

std::string dtype_name(int depth) {
    if (depth == CV_8U) return "uint8";
    if (depth == CV_16U) return "uint16";
    return depth == CV_32F ? "float32" : "another dtype";
}

/// HxWxC; CxHxW where only the first side is C; HxW where C is 1.
cv::Mat from_array(const Npy &array, const Bands &bands) {
    const int depth = array.dtype == "|u1" ? CV_8U : array.dtype == "<u2" ? CV_16U : CV_32F;
    std::vector<std::int64_t> shape = array.shape;
    const std::string got = dtype_name(depth) + " " + sides(shape);
    if (depth != depth_of(bands.dtype) || array.dtype == "<f2")
        throw bad_input("wrong dtype", array.dtype == "<f2" ? "float16" : got, described(bands),
                        "convert the file, or export the model again with --frame-dtype");
    if (shape.size() == 2) shape.push_back(1);
    const bool planar = shape.size() == 3 && shape[2] != bands.channels && shape[0] == bands.channels;
    if (planar) shape = {shape[1], shape[2], shape[0]};
    if (shape.size() != 3 || shape[2] != bands.channels || shape[0] == 0 || shape[1] == 0 ||
        shape[0] > max_frame_side || shape[1] > max_frame_side)
        throw bad_input("wrong shape", got, described(bands));
    const int height = static_cast<int>(shape[0]);
    const int width = static_cast<int>(shape[1]);
    cv::Mat frame(height, width, CV_MAKETYPE(depth, bands.channels));
    const std::size_t item = frame.elemSize1();
    if (!planar) {
        std::memcpy(frame.data, array.bytes.data(), array.bytes.size());
        return frame;
    }
    const auto pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    const auto channels = static_cast<std::size_t>(bands.channels);
    for (std::size_t c = 0; c < channels; ++c)
        for (std::size_t i = 0; i < pixels; ++i)
            std::memcpy(frame.data + (i * channels + c) * item, array.bytes.data() + (c * pixels + i) * item, item);
    return frame;
}

bool is_tiff(const std::string &data) {
    const std::string begin = data.substr(0, 4);
    return begin == std::string("II*\0", 4) || begin == std::string("MM\0*", 4) || begin == std::string("II+\0", 4) ||
           begin == std::string("MM\0+", 4);
}

cv::Mat fitting(const cv::Mat &frame, const Bands &bands) {
    const std::string got = dtype_name(frame.depth()) + " " + sides({frame.rows, frame.cols, frame.channels()});
    if (frame.depth() != depth_of(bands.dtype))
        throw bad_input("wrong dtype", got, described(bands),
                        "convert the file, or export the model again with --frame-dtype");
    if (frame.channels() != bands.channels) throw bad_input("wrong shape", got, described(bands));
    return frame;
}

/// Red, green, blue and alpha for OpenCV's blue, green, red and alpha.
cv::Mat in_file_order(const cv::Mat &picture) {
    if (picture.channels() < 3) return picture;
    cv::Mat turned(picture.size(), picture.type());
    const std::array<int, 8> pairs{0, 2, 1, 1, 2, 0, 3, 3};
    cv::mixChannels(&picture, 1, &turned, 1, pairs.data(), static_cast<std::size_t>(picture.channels()));
    return turned;
}

}  // namespace

std::optional<Bands> bands_of(const Bundle &bundle) {
    if (bundle.latent || bundle.contract.color != Color::channels) return std::nullopt;
    return Bands{bundle.contract.channels(), bundle.contract.frame_dtype};
}

cv::Mat decode_bands(const std::string &data, const Bands &bands) {
    if (is_npy(data)) return from_array(parse_npy(data, "the file", "save it again"), bands);
    if (is_tiff(data)) return fitting(media().decode_tiff(data), bands);
    const cv::Mat picture = media().decode(data, cv::IMREAD_UNCHANGED);
    if (picture.empty()) throw bad_input("is not an image that OpenCV can decode, or is damaged");
    return fitting(in_file_order(picture), bands);
}

}  // namespace edgeproof::app
