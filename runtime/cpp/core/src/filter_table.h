#pragma once

#include <cstdint>
#include <vector>

#include "arithmetic.h"
#include "edgeproof/geometry.h"

namespace edgeproof::detail {

constexpr int low_bits = 11;                // of a weight's 22 bits and sign, the part that `low` holds

/// One axis of a resize, ready for the kernels: which source pixels make each kept output pixel, and their
/// fixed-point weights. Positions count from `first`, the first source pixel that any output needs.
struct FilterTable {
    std::int64_t first = 0;               ///< in frame pixels
    std::int64_t span = 0;                ///< source pixels from `first` that any output needs
    int taps = 0;                         ///< of each output, the padding with zero weights included
    bool identity = false;                ///< output i is source pixel first + i
    std::vector<std::int32_t> starts;     ///< [outputs]: first tap
    std::vector<std::int32_t> counts;     ///< [outputs]: taps up to the last that carries weight
    std::vector<std::int32_t> weights;    ///< [outputs][taps]
    std::vector<std::int16_t> high, low;  ///< [outputs][taps]: weight == (high << low_bits) + low

    std::int64_t outputs() const { return static_cast<std::int64_t>(starts.size()); }
};

constexpr std::int32_t weight_one = 1 << precision_bits;

/// The table of an axis; `taps` becomes a multiple of `tap_multiple`. Filter::nearest gives one tap of weight one.
FilterTable make_filter_table(const Axis &axis, Filter filter, int tap_multiple);

/// The same windows as Pillow's in double precision, for modes of more than 8 bits: of each kept output pixel the first
/// source pixel, in frame pixels, and its weights. Filter::nearest gives one weight of 1.
void exact_windows(const Axis &axis, Filter filter, std::vector<std::int64_t> &starts,
                   std::vector<std::vector<double>> &weights);

}  // namespace edgeproof::detail
