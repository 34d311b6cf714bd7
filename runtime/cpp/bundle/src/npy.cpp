#include "npy.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "edgeproof/failure.h"
#include "edgeproof/spec.h"

namespace edgeproof {
namespace {

constexpr std::int64_t max_values = spec::max_tensor_bytes;

std::size_t width_of(const std::string &dtype) {
    if (dtype == "|u1") return 1;
    if (dtype == "<f2" || dtype == "<u2") return 2;
    return dtype == "<f4" ? 4 : 0;
}

/// What stands between `begin` and the next `end`; nothing where either is missing.
std::string between(const std::string &text, const std::string &begin, char end) {
    const std::size_t at = text.find(begin);
    if (at == std::string::npos) return {};
    const std::size_t from = at + begin.size();
    const std::size_t to = text.find(end, from);
    return to == std::string::npos ? std::string() : text.substr(from, to - from);
}

bool parse_shape(const std::string &text, std::vector<std::int64_t> &shape) {
    std::int64_t total = 1;
    std::size_t at = 0;
    while ((at = text.find_first_not_of(", ", at)) != std::string::npos) {
        std::int64_t side = 0;
        const std::size_t first = at;
        for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
            side = side * 10 + (text[at] - '0');
            if (side > max_values) return false;
        }
        if (at == first) return false;
        total *= side;
        if (total > max_values) return false;
        shape.push_back(side);
    }
    return true;
}

}  // namespace

bool is_npy(const std::string &data) { return data.compare(0, 6, "\x93NUMPY") == 0; }

Npy parse_npy(const std::string &text, const std::string &name, const std::string &fix) {
    const auto refuse = [&name, &fix](const std::string &got) {
        return bad_input(name + ": unsupported array", got, ".npy, C order, uint8, uint16, float16 or float32", fix);
    };
    if (text.size() < 12 || !is_npy(text)) throw refuse("not a .npy file");
    const auto byte = [&text](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(text[i])); };
    const bool long_header = byte(6) >= 2;
    const std::size_t start = long_header ? 12 : 10;
    const std::size_t size = byte(8) | byte(9) << 8 | (long_header ? byte(10) << 16 | byte(11) << 24 : 0);
    if (size > text.size() - start) throw refuse("a truncated header");
    const std::string header = text.substr(start, size);

    Npy array;
    array.dtype = between(header, "'descr': '", '\'');
    const std::size_t width = width_of(array.dtype);
    if (width == 0) throw refuse("dtype " + array.dtype);
    if (header.find("'fortran_order': False") == std::string::npos) throw refuse("Fortran order");
    if (!parse_shape(between(header, "'shape': (", ')'), array.shape)) throw refuse("a damaged shape");
    std::size_t expected = width;
    for (const std::int64_t side : array.shape) expected *= static_cast<std::size_t>(side);
    array.bytes = text.substr(start + size);
    if (array.bytes.size() != expected) throw refuse(std::to_string(array.bytes.size()) + " bytes of values");
    return array;
}

std::vector<double> values_of(const Npy &array) {
    const std::size_t width = width_of(array.dtype);
    std::vector<double> values(array.bytes.size() / width);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const char *at = array.bytes.data() + i * width;
        if (width == 1) {
            values[i] = static_cast<unsigned char>(*at);
        } else if (width == 2) {
            std::uint16_t bits = 0;
            std::memcpy(&bits, at, sizeof bits);
            values[i] = array.dtype == "<u2" ? static_cast<double>(bits) : static_cast<double>(half_to_float(bits));
        } else {
            float value = 0;
            std::memcpy(&value, at, sizeof value);
            values[i] = value;
        }
    }
    return values;
}

float half_to_float(std::uint16_t half) {
    const int exponent = half >> 10 & 31;
    const auto fraction = static_cast<float>(half & 1023);
    float magnitude = std::ldexp(exponent == 0 ? fraction : 1024.0F + fraction, (exponent == 0 ? 1 : exponent) - 25);
    if (exponent == 31) {
        magnitude = fraction == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
    }
    return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

}  // namespace edgeproof
