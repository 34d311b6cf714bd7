#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "edgeproof/json.h"
#include "edgeproof/spec.h"

namespace edgeproof {

/// No model input is larger; keeps every product of two sides inside 32 bits.
constexpr int max_side = static_cast<int>(spec::max_side);

/// Most channels of a contract of color `channels`.
constexpr int max_channels = static_cast<int>(spec::max_channels);

struct Size {
    int height = 0;
    int width = 0;
};

struct BatchBounds {
    int min = 1;
    int opt = 1;
    int max = 32;
};

/// Everything that happens between a camera frame and the model's input tensor. The same fields with the same
/// meaning as `edgeproof_runtime.contract.contract.InputContract`, which documents them.
struct Contract {
    Color color = Color::rgb;
    ResizeMode resize = ResizeMode::shortest;
    Size resize_size{256, 256};
    std::optional<Size> crop_size = Size{224, 224};
    std::optional<double> crop_fraction;
    Filter filter = Filter::bilinear;
    Resampler resampler = Resampler::pillow_13;
    FrameDtype frame_dtype = FrameDtype::uint8;
    std::vector<int> fill{0, 0, 0};
    double scale = 255.0;
    std::vector<double> mean{0.485, 0.456, 0.406};
    std::vector<double> std{0.229, 0.224, 0.225};
    Layout layout = Layout::nchw;
    DType dtype = DType::float32;
    BatchBounds batch;

    /// Throws `Error` (kind contract) where the fields contradict each other.
    void validate() const;

    /// 1 for gray, 3 for rgb and bgr, the length of `mean` for channels.
    int channels() const {
        return color == Color::channels ? static_cast<int>(mean.size()) : color == Color::gray ? 1 : 3;
    }
    /// Height and width of the input tensor in pixels.
    Size tensor_size() const { return crop_size.value_or(resize_size); }
    /// Shape of the input tensor for this batch size, in the contract's layout.
    std::array<std::int64_t, 4> tensor_shape(std::int64_t batch_size = 1) const;
    /// Bytes of one batch slot.
    std::size_t slot_bytes() const;
};

/// Build and validate a contract from the object that `InputContract.to_json` writes (bundle.json: "input").
/// Throws `Error` (kind contract): a field is unknown, missing, of the wrong type, or contradicts another.
Contract contract_from_json(const json::Value &value);

/// The same from text.
Contract parse_contract(std::string_view text);

/// "rgb", "bgr", "gray" or "channels". Throws `Error` (kind contract) on any other name.
Color parse_color(std::string_view name);

/// "bgr", "nv12", "i420" or "yuyv"; "bt601" or "bt709"; "limited" or "full". Throw like `parse_color`.
PixelFormat parse_pixel_format(std::string_view name);
YuvMatrix parse_yuv_matrix(std::string_view name);
YuvRange parse_yuv_range(std::string_view name);

}  // namespace edgeproof
