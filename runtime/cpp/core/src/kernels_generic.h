#pragma once

// Loops that need no instruction by name: compiled once into every kernels_*.cpp, for that file's instruction set.

#include <cstring>

#include "arithmetic.h"
#include "kernels.h"

namespace edgeproof::detail {
namespace {

/// `Block::make(rows, weights, count, x, out)` makes Block::bytes bytes of the output row from column x on.
template <typename Block>
inline void vertical(const std::uint8_t *const *rows, const std::int32_t *weights, std::int64_t count,
                     std::int64_t bytes, std::uint8_t *out) {
    std::int64_t x = 0;
    for (; x + Block::bytes <= bytes; x += Block::bytes) Block::make(rows, weights, count, x, out);
    if (x < bytes && bytes >= Block::bytes) {
        Block::make(rows, weights, count, bytes - Block::bytes, out);  // overlaps the block before it
        return;
    }
    for (; x < bytes; ++x) {
        std::uint32_t total = half;
        for (std::int64_t k = 0; k < count; ++k) total = add_tap(total, weights[k], rows[k][x]);
        out[x] = finish(total);
    }
}

template <int width>
inline void channel_block(const std::uint8_t *pixel, const std::int32_t *weights, std::int64_t taps, int channels,
                          std::uint8_t *out) {
    std::uint32_t total[width];
    for (auto &sum : total) sum = half;
    for (std::int64_t k = 0; k < taps; ++k, pixel += channels)
        for (int c = 0; c < width; ++c) total[c] = add_tap(total[c], weights[k], pixel[c]);
    for (int c = 0; c < width; ++c) out[c] = finish(total[c]);
}

inline void horizontal_many(const std::uint8_t *const rows[kernel_rows], const Taps &taps, int channels,
                            std::uint8_t *const out[kernel_rows]) {
    for (int r = 0; r < kernel_rows; ++r)
        for (std::int64_t i = 0; i < taps.outputs; ++i) {
            const std::uint8_t *pixel = rows[r] + std::int64_t{channels} * taps.starts[i];
            const std::int32_t *weights = taps.weights + i * taps.taps;
            std::uint8_t *to = out[r] + channels * i;
            int c = 0;
            for (; c + 16 <= channels; c += 16) channel_block<16>(pixel + c, weights, taps.taps, channels, to + c);
            for (; c + 4 <= channels; c += 4) channel_block<4>(pixel + c, weights, taps.taps, channels, to + c);
            for (; c < channels; ++c) channel_block<1>(pixel + c, weights, taps.taps, channels, to + c);
        }
}

inline void luma(const std::uint8_t *pixels, std::int64_t count, bool bgr, std::uint8_t *out) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = luma_of(pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2], bgr);
}

}  // namespace
}  // namespace edgeproof::detail
