#include "edgeproof/geometry.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "edgeproof/error.h"

namespace edgeproof {
namespace {

Axis axis(std::int64_t length, std::int64_t box, std::int64_t resized, std::int64_t out) {
    Axis a;
    a.box_start = (length - box + 1) / 2;
    a.box = box;
    a.resized = resized;
    a.keep = std::min(resized, out);
    // rint rounds halves to even, as Python's round() does
    a.keep_start = resized > out ? static_cast<std::int64_t>(std::rint(static_cast<double>(resized - out) / 2)) : 0;
    a.pad_start = resized < out ? (out - resized) / 2 : 0;
    return a;
}

/// First frame pixel and number of frame pixels that the tensor shows along an axis.
std::pair<double, double> span(const Axis &axis, int tensor_side) {
    const double scale = static_cast<double>(axis.box) / static_cast<double>(axis.resized);
    const auto offset = static_cast<double>(axis.keep_start - axis.pad_start);
    return {static_cast<double>(axis.box_start) + offset * scale, tensor_side * scale};
}

std::string pixels(std::int64_t height, std::int64_t width) {
    return std::to_string(width) + "x" + std::to_string(height) + " pixels";
}

}  // namespace

Geometry plan(const Contract &contract, std::int64_t height, std::int64_t width) {
    if (height < 1 || width < 1) throw Error(Error::Kind::frame, "frame: empty", pixels(height, width), "at least 1x1");
    if (std::max(height, width) > max_frame_side)
        throw Error(Error::Kind::frame, "frame: too large", pixels(height, width),
                    "sides of at most " + std::to_string(max_frame_side) + " pixels");
    const std::int64_t target_h = contract.resize_size.height;
    const std::int64_t target_w = contract.resize_size.width;
    std::int64_t new_h = target_h;
    std::int64_t new_w = target_w;
    std::int64_t box_h = height;
    std::int64_t box_w = width;
    switch (contract.resize) {
        case ResizeMode::shortest:
            if (width <= height)
                new_h = target_h * height / width;
            else
                new_w = target_h * width / height;
            break;
        case ResizeMode::cover:
        case ResizeMode::letterbox: {
            const double by_height = static_cast<double>(height) / static_cast<double>(target_h);
            const double by_width = static_cast<double>(width) / static_cast<double>(target_w);
            const double ratio =
                contract.resize == ResizeMode::cover ? std::min(by_height, by_width) : std::max(by_height, by_width);
            new_h =
                std::max<std::int64_t>(1, static_cast<std::int64_t>(std::rint(static_cast<double>(height) / ratio)));
            new_w = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::rint(static_cast<double>(width) / ratio)));
            break;
        }
        case ResizeMode::crop_fraction: {
            const double fraction = contract.crop_fraction.value();
            const auto limit = static_cast<double>(std::min(height * target_w, width * target_h));
            const double fit_h = fraction * (limit / static_cast<double>(target_w));
            const double fit_w = fraction * (limit / static_cast<double>(target_h));
            box_h = std::max<std::int64_t>(1, static_cast<std::int64_t>(fit_h));
            box_w = std::max<std::int64_t>(1, static_cast<std::int64_t>(fit_w));
            break;
        }
        case ResizeMode::squash: break;
    }
    if (std::max(new_h, new_w) > max_frame_side)
        throw Error(Error::Kind::frame, "frame: too long and thin for this contract",
                    pixels(height, width) + ", which would be resized to " + std::to_string(new_w) + "x" +
                        std::to_string(new_h),
                    "a resized side of at most " + std::to_string(max_frame_side) + " pixels");
    const Size out = contract.tensor_size();
    Geometry geometry;
    geometry.y = axis(height, box_h, new_h, out.height);
    geometry.x = axis(width, box_w, new_w, out.width);
    // Pillow 13's ImagingResampleInner; found by experiment on 13.0.0, held by tests against Pillow
    geometry.vertical_first =
        contract.resampler == Resampler::pillow_13 && box_h > new_h && box_h - new_h > 2 * (box_w - new_w);
    return geometry;
}

Region tensor_region(const Contract &contract, std::int64_t height, std::int64_t width) {
    const Geometry geometry = plan(contract, height, width);
    const Size tensor = contract.tensor_size();
    const auto [top, tall] = span(geometry.y, tensor.height);
    const auto [left, wide] = span(geometry.x, tensor.width);
    return {top, left, tall, wide};
}

}  // namespace edgeproof
