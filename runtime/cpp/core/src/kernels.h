#pragma once

#include <cstdint>
#include <vector>

#include "filter_table.h"

namespace edgeproof::detail {

/// A FilterTable as bare pointers: the kernels' files are compiled for one instruction set each, so no inline function
/// of the standard library may be instantiated in them (the linker might keep that copy for everybody).
struct Taps {
    const std::int32_t *starts;
    const std::int32_t *weights;
    const std::int16_t *high;
    const std::int16_t *low;
    std::int64_t outputs;
    std::int64_t taps;
};

constexpr int kernel_rows = 4;         // rows that a horizontal kernel filters at once
constexpr int load_bytes = 16;         // bytes that a horizontal kernel loads at a time
constexpr int tap_multiple_rgb = 4;    // taps in one load of three-channel pixels (12 of the 16 bytes)
constexpr int tap_multiple_gray = 16;  // taps in one load of one-channel pixels
constexpr int tap_multiple_many = 1;   // pixels of any number of channels are read one by one
constexpr int write_slack = 4;         // bytes that a horizontal kernel may write past its last pixel

/// The inner loops for one instruction set. Every one of them computes
/// clamp((sum(pixel * weight) + half) >> precision_bits) in wrapping 32-bit arithmetic, so all give the same bits.
struct Kernels {
    const char *name;
    bool (*supported)();

    /// Interleaved three-channel rows. Reads up to `load_bytes` past the last tap's load position.
    void (*horizontal_rgb)(const std::uint8_t *const rows[kernel_rows], const Taps &taps,
                           std::uint8_t *const out[kernel_rows]);
    /// One-channel rows.
    void (*horizontal_gray)(const std::uint8_t *const rows[kernel_rows], const Taps &taps,
                            std::uint8_t *const out[kernel_rows]);
    /// Interleaved rows of any number of channels. Reads and writes exactly the pixels.
    void (*horizontal_many)(const std::uint8_t *const rows[kernel_rows], const Taps &taps, int channels,
                            std::uint8_t *const out[kernel_rows]);
    /// One output row of `bytes` from `count` rows; reads and writes exactly that.
    void (*vertical)(const std::uint8_t *const *rows, const std::int32_t *weights, std::int64_t count,
                     std::int64_t bytes, std::uint8_t *out);
    /// ITU-R 601-2 luma of interleaved pixels as Pillow has it (src/libImaging/Convert.c, L24).
    void (*luma)(const std::uint8_t *pixels, std::int64_t count, bool bgr, std::uint8_t *out);
};

/// The kernels that this build has and this CPU runs, best first.
const std::vector<const Kernels *> &supported_kernels();

extern const Kernels portable_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#elif defined(__aarch64__)
extern const Kernels neon_kernels;
#endif

}  // namespace edgeproof::detail
