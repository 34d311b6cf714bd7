#pragma once

// The horizontal pass on x86, written once for registers of two rows (AVX2) and of four (AVX-512). Each 128-bit lane
// holds one row. Multiplying 8-bit pixels by 23-bit weights exactly costs two 16-bit multiply-adds, of two taps each:
// one with the weights' high half, one with their low half.

#include <immintrin.h>

#include "kernels_generic.h"

namespace edgeproof::detail {
namespace {

inline __m128i load(const std::uint8_t *from) { return _mm_loadu_si128(reinterpret_cast<const __m128i *>(from)); }

inline int load_pair(const std::int16_t *from) {
    int pair;
    std::memcpy(&pair, from, sizeof pair);
    return pair;
}

// Two interleaved pixels from byte 0 (6) on, as 16-bit pairs: r0 r1, g0 g1, b0 b1, and two zeros.
inline __m128i first_pixels() { return _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1); }
inline __m128i next_pixels() { return _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1); }
// Eight one-channel pixels from byte 0 (8) on.
inline __m128i low_bytes() { return _mm_setr_epi8(0, -1, 1, -1, 2, -1, 3, -1, 4, -1, 5, -1, 6, -1, 7, -1); }
inline __m128i high_bytes() { return _mm_setr_epi8(8, -1, 9, -1, 10, -1, 11, -1, 12, -1, 13, -1, 14, -1, 15, -1); }

/// `V`: vector type `V::Rows`, `V::rows` of them in one, and the operations below.
template <typename V>
void horizontal_rgb(const std::uint8_t *const rows_in[kernel_rows], const Taps &taps_in,
                    std::uint8_t *const out_in[kernel_rows]) {
    using Rows = typename V::Rows;
    // Copies, because the compiler must take every byte that is stored for a change of them otherwise.
    const Taps taps = taps_in;
    const std::uint8_t *const rows[kernel_rows] = {rows_in[0], rows_in[1], rows_in[2], rows_in[3]};
    std::uint8_t *const out[kernel_rows] = {out_in[0], out_in[1], out_in[2], out_in[3]};
    constexpr int groups = kernel_rows / V::rows;
    const Rows first = V::in_every_lane(first_pixels());
    const Rows next = V::in_every_lane(next_pixels());
    for (std::int64_t i = 0; i < taps.outputs; ++i) {
        const std::int16_t *high = taps.high + i * taps.taps;
        const std::int16_t *low = taps.low + i * taps.taps;
        std::int64_t offset = 3 * std::int64_t{taps.starts[i]};
        Rows total_high[groups];
        Rows total_low[groups];
        for (int g = 0; g < groups; ++g) {
            total_high[g] = V::all(0);
            total_low[g] = V::all(static_cast<int>(half));
        }
        for (std::int64_t k = 0; k < taps.taps; k += tap_multiple_rgb, offset += 3 * tap_multiple_rgb) {
            const Rows high_a = V::all(load_pair(high + k));
            const Rows high_b = V::all(load_pair(high + k + 2));
            const Rows low_a = V::all(load_pair(low + k));
            const Rows low_b = V::all(load_pair(low + k + 2));
            for (int g = 0; g < groups; ++g) {
                const Rows bytes = V::load_rows(rows + g * V::rows, offset);
                const Rows a = V::shuffle(bytes, first);
                const Rows b = V::shuffle(bytes, next);
                total_high[g] = V::multiply_add(V::multiply_add(total_high[g], a, high_a), b, high_b);
                total_low[g] = V::multiply_add(V::multiply_add(total_low[g], a, low_a), b, low_b);
            }
        }
        for (int g = 0; g < groups; ++g) {
            std::uint32_t pixels[V::rows];
            V::finish(total_high[g], total_low[g], pixels);
            for (int r = 0; r < V::rows; ++r) std::memcpy(out[g * V::rows + r] + 3 * i, &pixels[r], 4);
        }
    }
}

template <typename V>
void horizontal_gray(const std::uint8_t *const rows[kernel_rows], const Taps &taps,
                     std::uint8_t *const out[kernel_rows]) {
    using Rows = typename V::Rows;
    constexpr int groups = kernel_rows / V::rows;
    const Rows first = V::in_every_lane(low_bytes());
    const Rows next = V::in_every_lane(high_bytes());
    for (std::int64_t i = 0; i < taps.outputs; ++i) {
        const auto *high = reinterpret_cast<const std::uint8_t *>(taps.high + i * taps.taps);
        const auto *low = reinterpret_cast<const std::uint8_t *>(taps.low + i * taps.taps);
        for (int g = 0; g < groups; ++g) {
            Rows total_high = V::all(0);
            Rows total_low = V::all(0);
            for (std::int64_t k = 0; k < taps.taps; k += tap_multiple_gray) {
                const Rows bytes = V::load_rows(rows + g * V::rows, taps.starts[i] + k);
                const Rows a = V::shuffle(bytes, first);
                const Rows b = V::shuffle(bytes, next);
                total_high = V::multiply_add(total_high, a, V::in_every_lane(load(high + 2 * k)));
                total_high = V::multiply_add(total_high, b, V::in_every_lane(load(high + 2 * k + 16)));
                total_low = V::multiply_add(total_low, a, V::in_every_lane(load(low + 2 * k)));
                total_low = V::multiply_add(total_low, b, V::in_every_lane(load(low + 2 * k + 16)));
            }
            total_low = V::add(V::sum_of_lane(total_low), V::all(static_cast<int>(half)));
            std::uint32_t pixels[V::rows];
            V::finish(V::sum_of_lane(total_high), total_low, pixels);
            for (int r = 0; r < V::rows; ++r) out[g * V::rows + r][i] = static_cast<std::uint8_t>(pixels[r]);
        }
    }
}

template <typename V>
struct VerticalBlock {
    static constexpr int registers = 4;
    static constexpr int columns = sizeof(typename V::Rows) / 4;
    static constexpr std::int64_t bytes = registers * columns;

    static void make(const std::uint8_t *const *rows, const std::int32_t *weights, std::int64_t count, std::int64_t x,
                     std::uint8_t *out) {
        typename V::Rows total[registers];
        for (auto &sum : total) sum = V::all(static_cast<int>(half));
        for (std::int64_t k = 0; k < count; ++k) {
            const auto weight = V::all(weights[k]);
            for (int i = 0; i < registers; ++i)
                total[i] = V::add(total[i], V::multiply(V::widen(rows[k] + x + i * columns), weight));
        }
        for (int i = 0; i < registers; ++i) V::store_columns(total[i], out + x + i * columns);
    }
};

}  // namespace
}  // namespace edgeproof::detail
