#pragma once

// The arithmetic of the input contract: one definition for the CPU's portable kernels and the CUDA kernels. NVRTC
// compiles this file too, so it includes nothing there. Every function is static: the kernels' files are compiled for
// one instruction set each, and the linker must not keep one file's copy for all.

#if !defined(__CUDACC_RTC__)
#include <cstring>
#endif
#if defined(__CUDACC__)
#define EDGEPROOF_HOST_DEVICE __host__ __device__
#else
#define EDGEPROOF_HOST_DEVICE
#endif

namespace edgeproof::detail {

constexpr int precision_bits = 32 - 8 - 2;  // Pillow's fixed point for 8-bit channels (src/libImaging/Resample.c)
constexpr unsigned int half = 1U << (precision_bits - 1);

/// One tap of a filter in wrapping 32-bit arithmetic; a sum begins with `half`.
EDGEPROOF_HOST_DEVICE static inline unsigned int add_tap(unsigned int total, int weight, unsigned int pixel) {
    return total + static_cast<unsigned int>(weight) * pixel;
}

EDGEPROOF_HOST_DEVICE static inline unsigned char clamp_to_byte(int value) {
    return static_cast<unsigned char>(value < 0 ? 0 : value > 255 ? 255 : value);
}

/// The pixel that a sum of taps means.
EDGEPROOF_HOST_DEVICE static inline unsigned char finish(unsigned int total) {
    return clamp_to_byte(static_cast<int>(total) >> precision_bits);
}

/// ITU-R 601-2 luma as Pillow has it (src/libImaging/Convert.c, L24).
EDGEPROOF_HOST_DEVICE static inline unsigned char luma_of(unsigned int first, unsigned int second, unsigned int third,
                                                          bool bgr) {
    const unsigned int red = bgr ? third : first;
    const unsigned int blue = bgr ? first : third;
    return static_cast<unsigned char>((red * 19595U + second * 38470U + blue * 7471U + 0x8000U) >> 16);
}

/// Weights of 2^20 that turn YUV into BGR: OpenCV's constants for BT.601 in limited range, so that frames equal what
/// cv2.cvtColor makes of them; else the standard's, rounded.
struct YuvWeights {
    int black;    ///< the luma of black: 16 in limited range
    int luma;     ///< of each channel
    int red_v;    ///< of V - 128
    int green_u;  ///< of U - 128, subtracted
    int green_v;  ///< of V - 128, subtracted
    int blue_u;   ///< of U - 128
};

constexpr int yuv_bits = 20;

/// Blue, green and red of a pixel. Below black, luma counts as black.
EDGEPROOF_HOST_DEVICE static inline void bgr_of_yuv(const YuvWeights &weights, int y, int u, int v,
                                                    unsigned char *bgr) {
    const int above = y - weights.black;
    const int base = (above < 0 ? 0 : above) * weights.luma + (1 << (yuv_bits - 1));
    u -= 128;
    v -= 128;
    bgr[0] = clamp_to_byte((base + weights.blue_u * u) >> yuv_bits);
    bgr[1] = clamp_to_byte((base - weights.green_u * u - weights.green_v * v) >> yuv_bits);
    bgr[2] = clamp_to_byte((base + weights.red_v * v) >> yuv_bits);
}

/// One tap in double: the product is rounded before it is added, as on the CPU.
EDGEPROOF_HOST_DEVICE static inline double add_exact_tap(double total, double weight, float pixel) {
#if defined(__CUDA_ARCH__)
    return __dadd_rn(total, __dmul_rn(static_cast<double>(pixel), weight));
#else
    return total + static_cast<double>(pixel) * weight;
#endif
}

/// The float stage: ((value / scale) - mean) / std, each operation rounded to float32.
EDGEPROOF_HOST_DEVICE static inline float float_stage(float value, float scale, float mean, float std) {
#if defined(__CUDA_ARCH__)
    return __fdiv_rn(__fsub_rn(__fdiv_rn(value, scale), mean), std);
#else
    value /= scale;
    value -= mean;
    value /= std;
    return value;
#endif
}

/// IEEE 754 binary32 to binary16, rounding to nearest even; too large becomes infinity.
EDGEPROOF_HOST_DEVICE static inline unsigned short half_bits(float value) {
    unsigned int bits;
#if defined(__CUDA_ARCH__)
    bits = __float_as_uint(value);
#else
    static_assert(sizeof bits == sizeof value, "float must be binary32");
    std::memcpy(&bits, &value, sizeof bits);
#endif
    const unsigned int sign = (bits >> 16) & 0x8000U;
    bits &= 0x7FFFFFFFU;
    if (bits > 0x7F800000U) return static_cast<unsigned short>(sign | 0x7E00U);   // NaN
    if (bits >= 0x477FF000U) return static_cast<unsigned short>(sign | 0x7C00U);  // rounds past 65504
    const unsigned int exponent = bits >> 23;
    const unsigned int mantissa = (bits & 0x7FFFFFU) | 0x800000U;
    unsigned int shift = 13;
    unsigned int base = 0;
    if (exponent >= 113) {
        base = (exponent - 113) << 10;  // the implicit bit adds the missing one
    } else {
        shift = 126 - exponent;  // subnormal: the value in units of 2^-24
        if (shift > 24) return static_cast<unsigned short>(sign);
    }
    const unsigned int kept = mantissa >> shift;
    const unsigned int rest = mantissa & ((1U << shift) - 1);
    const unsigned int tie = 1U << (shift - 1);
    const bool up = rest > tie || (rest == tie && (kept & 1U) != 0);
    return static_cast<unsigned short>(sign | (base + kept + (up ? 1U : 0U)));
}

}  // namespace edgeproof::detail
