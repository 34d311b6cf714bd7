#include "edgeproof/latent.h"

#include <cmath>

namespace edgeproof {
namespace {

constexpr double two_pi = 6.283185307179586;

/// Word number `index` of SplitMix64 (Steele, Lea and Flood 2014).
std::uint64_t word(std::uint64_t seed, std::uint64_t index) {
    std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
}

/// Number `index` of the endless sequence of normal numbers (Box and Muller 1958).
float normal(std::uint64_t seed, std::uint64_t index) {
    const std::uint64_t pair = index / 2;
    const double u = static_cast<double>((word(seed, 2 * pair) >> 11) + 1) * 0x1p-53;
    const double v = static_cast<double>(word(seed, 2 * pair + 1) >> 11) * 0x1p-53;
    const double radius = std::sqrt(-2.0 * std::log(u));
    return static_cast<float>(radius * (index % 2 == 0 ? std::cos(two_pi * v) : std::sin(two_pi * v)));
}

}  // namespace

std::vector<float> latent_vector(std::uint64_t seed, std::uint64_t number, std::size_t size) {
    std::vector<float> values(size);
    for (std::size_t i = 0; i < size; ++i) values[i] = normal(seed, number * size + i);
    return values;
}

}  // namespace edgeproof
