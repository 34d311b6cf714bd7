#include "edgeproof/contract.h"

#include <cmath>
#include <sstream>
#include <string>

#include "edgeproof/error.h"

namespace edgeproof {
namespace {

[[noreturn]] void reject(std::string what, std::string got, std::string expected, std::string fix = {}) {
    throw Error(Error::Kind::contract, std::move(what), std::move(got), std::move(expected), std::move(fix));
}

/// The enumerator of a name; both are in the order of spec.json.
template <typename E, std::size_t n>
E parse_name(const std::array<std::string_view, n> &names, std::string_view field, std::string_view text) {
    for (std::size_t i = 0; i < n; ++i)
        if (names[i] == text) return static_cast<E>(i);
    reject("input contract: unknown " + std::string(field), std::string(text), list_of(names));
}

template <typename T>
std::string list(const std::vector<T> &values) {
    std::ostringstream text;
    for (const T &value : values) text << (text.tellp() > 0 ? ", " : "") << value;
    return "(" + text.str() + ")";
}

std::string list(Size size) { return list(std::vector<int>{size.height, size.width}); }

void check_size(const char *name, Size size) {
    if (size.height < 1 || size.width < 1 || size.height > max_side || size.width > max_side)
        reject(std::string(name) + ": not a size", list(size),
               "(height, width), each an integer 1.." + std::to_string(max_side));
}

void check_geometry(const Contract &c) {
    check_size("resize_size", c.resize_size);
    if (c.crop_size) check_size("crop_size", *c.crop_size);
    if (c.resize == ResizeMode::shortest && c.resize_size.height != c.resize_size.width)
        reject("resize_size: resize 'shortest' requires two equal numbers", list(c.resize_size),
               "(n, n), the length of the shorter side", "use resize 'cover' for a target that is not square");
    if ((c.resize == ResizeMode::shortest || c.resize == ResizeMode::cover) && !c.crop_size)
        reject("crop_size: required by resize 'shortest' and 'cover'", "no crop_size",
               "a crop_size, because the longer side depends on the frame");
    if (c.crop_size && (c.crop_size->height > c.resize_size.height || c.crop_size->width > c.resize_size.width))
        reject("crop_size: larger than the resized image", "crop " + list(*c.crop_size) + " of " + list(c.resize_size),
               "crop_size <= resize_size in height and width");
    if ((c.resize == ResizeMode::crop_fraction) != c.crop_fraction.has_value())
        reject("crop_fraction: must be set with resize 'crop_fraction', and only with it", "one without the other",
               "both or neither");
    if (c.crop_fraction && !(*c.crop_fraction > 0.0 && *c.crop_fraction <= 1.0))
        reject("crop_fraction: out of range", std::to_string(*c.crop_fraction), "0 < f <= 1");
    if (c.resize == ResizeMode::crop_fraction && c.crop_size)
        reject("crop_size: unsupported with resize 'crop_fraction', which crops before it resizes",
               "crop_size " + list(*c.crop_size), "no crop_size");
}

// The float stage runs in float32: a value must not become zero or infinite when it is narrowed.
bool fits_float(double value) { return std::abs(value) <= static_cast<double>(3.4028234663852886e38F); }
bool divides(double value) { return value > 0.0 && fits_float(value) && static_cast<float>(value) > 0.0F; }

void check_frame_dtype(const Contract &c) {
    if (c.frame_dtype == FrameDtype::uint8) return;
    const std::string got(frame_dtype_names[static_cast<std::size_t>(c.frame_dtype)]);
    if (c.color != Color::channels)
        reject("frame_dtype: must be uint8 for color rgb, bgr and gray", got, "uint8, or color channels");
    if (c.dtype == DType::uint8) reject("dtype: uint8 requires frame_dtype uint8", got, "dtype float32 or float16");
}

void check_values(const Contract &c) {
    if (c.color == Color::channels && (c.mean.empty() || c.mean.size() > max_channels))
        reject("mean: wrong number of channels", std::to_string(c.mean.size()) + " values",
               "1.." + std::to_string(max_channels) + " values, one per channel");
    const int brightest = c.frame_dtype == FrameDtype::uint8 ? 255 : 65'535;
    const auto channels = static_cast<std::size_t>(c.channels());
    const auto check_count = [&](const char *name, std::size_t count) {
        if (count != channels)
            reject(std::string(name) + ": wrong number of channels", std::to_string(count) + " values",
                   std::to_string(channels));
    };
    check_count("mean", c.mean.size());
    check_count("std", c.std.size());
    check_count("fill", c.fill.size());
    bool unit = c.scale == 1.0;
    if (!divides(c.scale)) reject("scale: must be above zero", std::to_string(c.scale), "a float32 above zero");
    for (std::size_t i = 0; i < channels; ++i) {
        if (!fits_float(c.mean[i])) reject("mean: must be finite", list(c.mean), "values in the range of float32");
        if (!divides(c.std[i])) reject("std: must be above zero", list(c.std), "float32 values above zero");
        if (c.fill[i] < 0 || c.fill[i] > brightest)
            reject("fill: out of range", list(c.fill), "integers 0.." + std::to_string(brightest));
        unit = unit && c.mean[i] == 0.0 && c.std[i] == 1.0;
    }
    if (c.dtype == DType::uint8 && !unit)
        reject("dtype: uint8 requires scale 1, mean 0 and std 1", "scale " + std::to_string(c.scale),
               "scale 1, mean 0, std 1");
    if (c.batch.min < 1 || c.batch.opt < c.batch.min || c.batch.max < c.batch.opt)
        reject("batch: bounds are not in order", list(std::vector<int>{c.batch.min, c.batch.opt, c.batch.max}),
               "integers, 1 <= min <= opt <= max");
    if (c.batch.max > spec::max_batch)
        reject("batch: too large", std::to_string(c.batch.max), "at most " + std::to_string(spec::max_batch));
    if (c.slot_bytes() > static_cast<std::size_t>(spec::max_tensor_bytes))
        reject("input contract: tensor too large", std::to_string(c.slot_bytes()) + " bytes",
               "at most " + std::to_string(spec::max_tensor_bytes));
}

constexpr std::string_view field_names[] = {"color",  "resize",    "resize_size", "crop_size", "crop_fraction",
                                            "filter", "resampler", "fill",        "scale",     "mean",
                                            "std",    "layout",    "dtype",       "batch",     "frame_dtype"};

void check_fields(const json::Value &value) {
    for (const auto &member : value.object()) {
        bool known = false;
        for (const auto name : field_names) known = known || name == member.first;
        if (!known) reject("input contract: unknown field", member.first, "a field of this version");
    }
}

Size parse_size(const json::Value &value) {
    const auto &items = value.array();
    if (items.size() != 2)
        reject("input contract: a size is not a pair", std::to_string(items.size()) + " numbers", "[height, width]");
    return {items[0].integer(), items[1].integer()};
}

std::vector<double> parse_numbers(const json::Value &value) {
    std::vector<double> numbers;
    for (const auto &item : value.array()) numbers.push_back(item.number());
    return numbers;
}

}  // namespace

void Contract::validate() const {
    check_geometry(*this);
    check_frame_dtype(*this);
    check_values(*this);
}

std::array<std::int64_t, 4> Contract::tensor_shape(std::int64_t batch_size) const {
    const Size size = tensor_size();
    if (layout == Layout::nchw) return {batch_size, channels(), size.height, size.width};
    return {batch_size, size.height, size.width, channels()};
}

std::size_t Contract::slot_bytes() const {
    const Size size = tensor_size();
    const std::size_t item = dtype == DType::float32 ? 4 : dtype == DType::float16 ? 2 : 1;
    return item * static_cast<std::size_t>(channels()) * static_cast<std::size_t>(size.height) *
           static_cast<std::size_t>(size.width);
}

Contract contract_from_json(const json::Value &value) {
    Contract c;
    try {
        check_fields(value);
        c.color = parse_color(value.at("color").string());
        c.resize = parse_name<ResizeMode>(resize_names, "resize", value.at("resize").string());
        c.resize_size = parse_size(value.at("resize_size"));
        const json::Value &crop_size = value.at("crop_size");
        c.crop_size = crop_size.is_null() ? std::nullopt : std::optional(parse_size(crop_size));
        const json::Value &fraction = value.at("crop_fraction");
        c.crop_fraction = fraction.is_null() ? std::nullopt : std::optional(fraction.number());
        c.filter = parse_name<Filter>(filter_names, "filter", value.at("filter").string());
        c.resampler = parse_name<Resampler>(resampler_names, "resampler", value.at("resampler").string());
        c.fill.clear();
        for (const auto &item : value.at("fill").array()) c.fill.push_back(item.integer());
        c.scale = value.at("scale").number();
        c.mean = parse_numbers(value.at("mean"));
        c.std = parse_numbers(value.at("std"));
        c.layout = parse_name<Layout>(layout_names, "layout", value.at("layout").string());
        c.dtype = parse_name<DType>(dtype_names, "dtype", value.at("dtype").string());
        // Absent for uint8, as in the bundles of earlier versions.
        if (const json::Value *frame_dtype = value.find("frame_dtype"))
            c.frame_dtype = parse_name<FrameDtype>(frame_dtype_names, "frame_dtype", frame_dtype->string());
        const json::Value &batch = value.at("batch");
        c.batch = {batch.at("min").integer(), batch.at("opt").integer(), batch.at("max").integer()};
    } catch (const Error &error) {
        if (error.kind != Error::Kind::json) throw;
        reject("input contract: damaged: " + error.problem, error.got, error.expected);
    }
    c.validate();
    return c;
}

Contract parse_contract(std::string_view text) {
    try {
        return contract_from_json(json::parse(text));
    } catch (const Error &error) {
        if (error.kind != Error::Kind::json) throw;
        reject("input contract: damaged: " + error.problem, error.got, error.expected);
    }
}

Color parse_color(std::string_view name) { return parse_name<Color>(color_names, "color", name); }
PixelFormat parse_pixel_format(std::string_view name) {
    return parse_name<PixelFormat>(pixel_format_names, "pixel format", name);
}
YuvMatrix parse_yuv_matrix(std::string_view name) {
    return parse_name<YuvMatrix>(yuv_matrix_names, "YUV matrix", name);
}
YuvRange parse_yuv_range(std::string_view name) { return parse_name<YuvRange>(yuv_range_names, "YUV range", name); }

}  // namespace edgeproof
