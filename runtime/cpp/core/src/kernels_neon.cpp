#include <arm_neon.h>

#include "kernels_generic.h"

namespace edgeproof::detail {
namespace {

/// Adds one tap of an interleaved pixel to r, g, b (the fourth lane stays unused).
template <int tap>
inline uint32x4_t add_tap(uint32x4_t total, uint8x16_t bytes, std::uint32_t weight) {
    constexpr std::uint8_t p = 3 * tap;
    constexpr std::uint8_t zero = 255;  // an index past the table gives zero
    constexpr std::uint8_t order[16] = {p,     zero, zero, zero, p + 1, zero, zero, zero,
                                        p + 2, zero, zero, zero, zero,  zero, zero, zero};
    return vmlaq_n_u32(total, vreinterpretq_u32_u8(vqtbl1q_u8(bytes, vld1q_u8(order))), weight);
}

inline std::uint32_t clamp_to_bytes(uint32x4_t total) {
    const int32x4_t value = vshrq_n_s32(vreinterpretq_s32_u32(total), precision_bits);
    const uint16x4_t narrow = vqmovun_s32(value);
    return vget_lane_u32(vreinterpret_u32_u8(vqmovn_u16(vcombine_u16(narrow, narrow))), 0);
}

void horizontal_rgb(const std::uint8_t *const rows[kernel_rows], const Taps &taps,
                    std::uint8_t *const out[kernel_rows]) {
    for (std::int64_t i = 0; i < taps.outputs; ++i) {
        const std::int32_t *weights = taps.weights + i * taps.taps;
        const std::int64_t offset = 3 * std::int64_t{taps.starts[i]};
        uint32x4_t total[kernel_rows];
        for (auto &sum : total) sum = vdupq_n_u32(half);
        for (std::int64_t k = 0; k < taps.taps; k += tap_multiple_rgb)
            for (int r = 0; r < kernel_rows; ++r) {
                const uint8x16_t bytes = vld1q_u8(rows[r] + offset + 3 * k);
                total[r] = add_tap<0>(total[r], bytes, static_cast<std::uint32_t>(weights[k]));
                total[r] = add_tap<1>(total[r], bytes, static_cast<std::uint32_t>(weights[k + 1]));
                total[r] = add_tap<2>(total[r], bytes, static_cast<std::uint32_t>(weights[k + 2]));
                total[r] = add_tap<3>(total[r], bytes, static_cast<std::uint32_t>(weights[k + 3]));
            }
        for (int r = 0; r < kernel_rows; ++r) {
            const std::uint32_t pixels = clamp_to_bytes(total[r]);
            std::memcpy(out[r] + 3 * i, &pixels, 4);
        }
    }
}

void horizontal_gray(const std::uint8_t *const rows[kernel_rows], const Taps &taps,
                     std::uint8_t *const out[kernel_rows]) {
    for (std::int64_t i = 0; i < taps.outputs; ++i) {
        const auto *weights = reinterpret_cast<const std::uint32_t *>(taps.weights + i * taps.taps);
        for (int r = 0; r < kernel_rows; ++r) {
            uint32x4_t total = vdupq_n_u32(0);
            for (std::int64_t k = 0; k < taps.taps; k += tap_multiple_gray) {
                const uint8x16_t bytes = vld1q_u8(rows[r] + taps.starts[i] + k);
                const uint16x8_t low = vmovl_u8(vget_low_u8(bytes));
                const uint16x8_t high = vmovl_high_u8(bytes);
                total = vmlaq_u32(total, vmovl_u16(vget_low_u16(low)), vld1q_u32(weights + k));
                total = vmlaq_u32(total, vmovl_high_u16(low), vld1q_u32(weights + k + 4));
                total = vmlaq_u32(total, vmovl_u16(vget_low_u16(high)), vld1q_u32(weights + k + 8));
                total = vmlaq_u32(total, vmovl_high_u16(high), vld1q_u32(weights + k + 12));
            }
            out[r][i] = finish(vaddvq_u32(total) + half);
        }
    }
}

struct VerticalBlock {
    static constexpr std::int64_t bytes = 16;

    static void make(const std::uint8_t *const *rows, const std::int32_t *weights, std::int64_t count, std::int64_t x,
                     std::uint8_t *out) {
        uint32x4_t total[4];
        for (auto &sum : total) sum = vdupq_n_u32(half);
        for (std::int64_t k = 0; k < count; ++k) {
            const auto weight = static_cast<std::uint32_t>(weights[k]);
            const uint8x16_t pixels = vld1q_u8(rows[k] + x);
            const uint16x8_t low = vmovl_u8(vget_low_u8(pixels));
            const uint16x8_t high = vmovl_high_u8(pixels);
            total[0] = vmlaq_n_u32(total[0], vmovl_u16(vget_low_u16(low)), weight);
            total[1] = vmlaq_n_u32(total[1], vmovl_high_u16(low), weight);
            total[2] = vmlaq_n_u32(total[2], vmovl_u16(vget_low_u16(high)), weight);
            total[3] = vmlaq_n_u32(total[3], vmovl_high_u16(high), weight);
        }
        for (int i = 0; i < 4; ++i) {
            const std::uint32_t pixels = clamp_to_bytes(total[i]);
            std::memcpy(out + x + 4 * i, &pixels, 4);
        }
    }
};

}  // namespace

const Kernels neon_kernels = {"neon",          [] { return true; },     horizontal_rgb,
                              horizontal_gray, horizontal_many,       vertical<VerticalBlock>,
                              luma};

}  // namespace edgeproof::detail
