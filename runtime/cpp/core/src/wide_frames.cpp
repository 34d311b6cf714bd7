#include "wide_frames.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "arithmetic.h"
#include "edgeproof/error.h"
#include "filter_table.h"

namespace edgeproof::detail {
namespace {

constexpr std::int64_t max_pixels = std::int64_t{1} << 28;  // of one channel: a gigabyte of float32

float value_at(const std::uint8_t *at, FrameDtype dtype) {
    if (dtype == FrameDtype::uint16) {
        std::uint16_t value;
        std::memcpy(&value, at, sizeof value);
        return static_cast<float>(value);
    }
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

}  // namespace

WidePass make_wide_pass(const Axis &axis, Filter filter) {
    WidePass pass;
    // Pillow leaves out a pass of the same size; Lanczos' weights would not be exactly 0 and 1.
    pass.identity = axis.box == axis.resized;
    exact_windows(axis, pass.identity ? Filter::nearest : filter, pass.starts, pass.weights);
    pass.first = pass.starts.front();
    for (std::size_t i = 0; i < pass.starts.size(); ++i) {
        pass.first = std::min(pass.first, pass.starts[i]);
        pass.end = std::max(pass.end, pass.starts[i] + static_cast<std::int64_t>(pass.weights[i].size()));
    }
    return pass;
}

void WideFrames::run(const Frame &frame, void *out) {
    if (frame.height != height_ || frame.width != width_) {
        height_ = -1;  // until the passes below are complete
        geometry_ = plan(contract_, frame.height, frame.width);
        y_ = make_wide_pass(geometry_.y, contract_.filter);
        x_ = make_wide_pass(geometry_.x, contract_.filter);
        const std::int64_t rows = y_.span();
        const std::int64_t columns = x_.span();
        const std::int64_t most = std::max(rows, geometry_.y.keep) * std::max(columns, geometry_.x.keep);
        if (most > max_pixels)
            throw Error(Error::Kind::frame, "frame: too large for this contract", std::to_string(most) + " pixels",
                        "at most " + std::to_string(max_pixels), "make the frame smaller before preprocessing");
        height_ = frame.height;
        width_ = frame.width;
    }
    for (int channel = 0; channel < frame.channels; ++channel) {
        load(frame, channel);
        if (geometry_.vertical_first) {
            filter_columns(x_.span());
            filter_rows(geometry_.y.keep);
        } else {
            filter_rows(y_.span());
            filter_columns(geometry_.x.keep);
        }
        write(channel, out);
    }
}

void WideFrames::load(const Frame &frame, int channel) {
    pixels_.clear();
    for (std::int64_t y = y_.first; y < y_.end; ++y) {
        const std::uint8_t *row = frame.data + y * frame.row_stride + channel * frame.channel_stride;
        for (std::int64_t x = x_.first; x < x_.end; ++x)
            pixels_.push_back(value_at(row + x * frame.column_stride, frame.dtype));
    }
}

/// The horizontal pass over `rows` rows of pixels_.
void WideFrames::filter_rows(std::int64_t rows) {
    if (x_.identity) return;
    const std::int64_t columns = x_.span();
    other_.clear();
    for (std::int64_t y = 0; y < rows; ++y)
        for (std::size_t i = 0; i < x_.starts.size(); ++i) {
            const float *from = pixels_.data() + y * columns + (x_.starts[i] - x_.first);
            double total = 0.0;
            for (const double weight : x_.weights[i]) total = add_exact_tap(total, weight, *from++);
            other_.push_back(static_cast<float>(total));
        }
    pixels_.swap(other_);
}

/// The vertical pass over `columns` columns of pixels_.
void WideFrames::filter_columns(std::int64_t columns) {
    if (y_.identity) return;
    other_.clear();
    for (std::size_t i = 0; i < y_.starts.size(); ++i)
        for (std::int64_t x = 0; x < columns; ++x) {
            const float *from = pixels_.data() + (y_.starts[i] - y_.first) * columns + x;
            double total = 0.0;
            for (const double weight : y_.weights[i]) {
                total = add_exact_tap(total, weight, *from);
                from += columns;
            }
            other_.push_back(static_cast<float>(total));
        }
    pixels_.swap(other_);
}

void WideFrames::write(int channel, void *out) const {
    const Size size = contract_.tensor_size();
    const auto at = static_cast<std::size_t>(channel);
    const auto scale = static_cast<float>(contract_.scale);
    const auto mean = static_cast<float>(contract_.mean[at]);
    const auto std = static_cast<float>(contract_.std[at]);
    const Axis &rows = geometry_.y;
    const Axis &columns = geometry_.x;
    for (std::int64_t y = 0; y < size.height; ++y)
        for (std::int64_t x = 0; x < size.width; ++x) {
            const std::int64_t row = y - rows.pad_start;
            const std::int64_t column = x - columns.pad_start;
            const bool inside = row >= 0 && row < rows.keep && column >= 0 && column < columns.keep;
            float value = inside ? pixels_[static_cast<std::size_t>(row * columns.keep + column)]
                                 : static_cast<float>(contract_.fill[at]);
            value = float_stage(value, scale, mean, std);
            const std::int64_t index = contract_.layout == Layout::nchw
                                           ? (channel * std::int64_t{size.height} + y) * size.width + x
                                           : (y * std::int64_t{size.width} + x) * contract_.channels() + channel;
            if (contract_.dtype == DType::float16)
                static_cast<std::uint16_t *>(out)[index] = half_bits(value);
            else
                static_cast<float *>(out)[index] = value;
        }
}

}  // namespace edgeproof::detail
