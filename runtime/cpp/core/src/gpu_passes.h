#pragma once

// The two passes of the contract as one thread of a GPU makes them. NVRTC and the host's compiler both take this file,
// so that a test can run every thread on the CPU.

#include "arithmetic.h"

namespace edgeproof::detail {

/// One axis of a resize in the GPU's memory. `starts` count from the first source pixel that any output needs.
struct GpuPass {
    const int *starts;    ///< [outputs]
    const int *counts;    ///< [outputs]: taps of each
    const void *weights;  ///< [taps][outputs]: int for uint8 frames, else double
    int outputs;
    int identity;  ///< output i is source pixel i
};

/// All that one frame's launches need; addresses of the GPU. The only argument of every kernel.
struct GpuJob {
    const unsigned char *planes[3];  ///< of the frame
    long long pitches[3];            ///< bytes from row to row of each
    const int *rows;                 ///< the frame's rows that any output needs, in order
    void *scratch;                   ///< the first pass's pixels, interleaved: uint8, or float for wide frames
    void *out;                       ///< the tensor
    const void *table;               ///< [channels][256] items of the tensor: the float stage of uint8 values
    const int *fill;                 ///< [channels]
    const float *stage;              ///< [channels][scale, mean, std], for wide frames
    GpuPass x;
    GpuPass y;
    YuvWeights yuv;
    int row_count;
    int first_column;  ///< of the frame, that any output needs
    int columns;       ///< from there on
    int sampled;       ///< channels that are resampled: 1 after luma, else the frame's
    int bgr;           ///< order of a frame of three channels
    int map_first;     ///< channel c of the tensor is resampled channel map_first + c * map_step
    int map_step;
    int channels;  ///< of the tensor
    int height;
    int width;
    int pad_y;
    int pad_x;
    int item_bytes;  ///< of the tensor
    int planar;      ///< layout NCHW
};

// What a pixel of the frame is. `load` gives `width` channels of it, from channel `c` on.

struct Rgb3 {
    using Value = unsigned char;
    static constexpr int width = 3;
    EDGEPROOF_HOST_DEVICE static void load(const GpuJob &job, int row, int column, int, unsigned char *to) {
        const unsigned char *at = job.planes[0] + row * job.pitches[0] + 3LL * column;
        for (int i = 0; i < 3; ++i) to[i] = at[i];
    }
};

template <typename T>
struct Many {
    using Value = T;
    static constexpr int width = 1;
    EDGEPROOF_HOST_DEVICE static void load(const GpuJob &job, int row, int column, int c, T *to) {
        const unsigned char *at = job.planes[0] + row * job.pitches[0];
        to[0] = reinterpret_cast<const T *>(at)[static_cast<long long>(column) * job.sampled + c];
    }
};

struct Nv12 {
    using Value = unsigned char;
    static constexpr int width = 3;
    EDGEPROOF_HOST_DEVICE static void load(const GpuJob &job, int row, int column, int, unsigned char *to) {
        const unsigned char *chroma = job.planes[1] + (row / 2) * job.pitches[1] + (column & ~1);
        bgr_of_yuv(job.yuv, job.planes[0][row * job.pitches[0] + column], chroma[0], chroma[1], to);
    }
};

struct I420 {
    using Value = unsigned char;
    static constexpr int width = 3;
    EDGEPROOF_HOST_DEVICE static void load(const GpuJob &job, int row, int column, int, unsigned char *to) {
        bgr_of_yuv(job.yuv, job.planes[0][row * job.pitches[0] + column],
                   job.planes[1][(row / 2) * job.pitches[1] + column / 2],
                   job.planes[2][(row / 2) * job.pitches[2] + column / 2], to);
    }
};

struct Yuyv {
    using Value = unsigned char;
    static constexpr int width = 3;
    EDGEPROOF_HOST_DEVICE static void load(const GpuJob &job, int row, int column, int, unsigned char *to) {
        const unsigned char *at = job.planes[0] + row * job.pitches[0];
        const unsigned char *pair = at + 2LL * (column & ~1);
        bgr_of_yuv(job.yuv, at[2LL * column], pair[1], pair[3], to);
    }
};

template <typename Colored>
struct LumaOf {
    using Value = unsigned char;
    static constexpr int width = 1;
    EDGEPROOF_HOST_DEVICE static void load(const GpuJob &job, int row, int column, int, unsigned char *to) {
        unsigned char pixel[3];
        Colored::load(job, row, column, 0, pixel);
        to[0] = luma_of(pixel[0], pixel[1], pixel[2], job.bgr != 0);
    }
};

// What the passes of a frame's values compute with.

template <typename T>
struct Wide {  // uint16 and float32
    using Pixel = float;
    using Sum = double;
    using Weight = double;
    static constexpr bool skips_identity = true;
    EDGEPROOF_HOST_DEVICE static Sum begin() { return 0.0; }
    EDGEPROOF_HOST_DEVICE static Sum add(Sum sum, Weight weight, T value) {
        return add_exact_tap(sum, weight, static_cast<float>(value));
    }
    EDGEPROOF_HOST_DEVICE static Pixel end(Sum sum) { return static_cast<float>(sum); }
};

template <typename T>
struct Sums : Wide<T> {};

template <>
struct Sums<unsigned char> {
    using Pixel = unsigned char;
    using Sum = unsigned int;
    using Weight = int;
    static constexpr bool skips_identity = false;  // a weight of one gives the pixel itself
    EDGEPROOF_HOST_DEVICE static Sum begin() { return half; }
    EDGEPROOF_HOST_DEVICE static Sum add(Sum sum, Weight weight, unsigned char value) {
        return add_tap(sum, weight, value);
    }
    EDGEPROOF_HOST_DEVICE static Pixel end(Sum sum) { return finish(sum); }
};

/// The first pass of output `i` along `pass`; `other` is the place on the other axis, a needed row or column.
template <typename Source, bool along_x>
EDGEPROOF_HOST_DEVICE static void first_pass(const GpuJob &job, const GpuPass &pass, int i, int other, int c,
                                             long long at) {
    using Value = typename Source::Value;
    using S = Sums<Value>;
    typename S::Sum sums[Source::width];
    Value pixel[Source::width];
    auto *out = static_cast<typename S::Pixel *>(job.scratch) + at * job.sampled + c;
    const int start = pass.starts[i];
    const int count = pass.counts[i];
    const auto *weight = static_cast<const typename S::Weight *>(pass.weights) + i;
    for (int n = 0; n < Source::width; ++n) sums[n] = S::begin();
    for (int k = 0; k < count; ++k, weight += pass.outputs) {
        const int row = job.rows[along_x ? other : start + k];
        const int column = job.first_column + (along_x ? start + k : other);
        Source::load(job, row, column, c, pixel);
        if (S::skips_identity && pass.identity) {
            for (int n = 0; n < Source::width; ++n) out[n] = static_cast<typename S::Pixel>(pixel[n]);
            return;
        }
        for (int n = 0; n < Source::width; ++n) sums[n] = S::add(sums[n], *weight, pixel[n]);
    }
    for (int n = 0; n < Source::width; ++n) out[n] = S::end(sums[n]);
}

EDGEPROOF_HOST_DEVICE static inline void write_item(const GpuJob &job, long long index, int c, unsigned char value) {
    const int at = 256 * c + value;
    if (job.item_bytes == 4)
        static_cast<float *>(job.out)[index] = static_cast<const float *>(job.table)[at];
    else if (job.item_bytes == 2)
        static_cast<unsigned short *>(job.out)[index] = static_cast<const unsigned short *>(job.table)[at];
    else
        static_cast<unsigned char *>(job.out)[index] = static_cast<const unsigned char *>(job.table)[at];
}

EDGEPROOF_HOST_DEVICE static inline void write_item(const GpuJob &job, long long index, int c, float value) {
    const float *stage = job.stage + 3 * c;
    value = float_stage(value, stage[0], stage[1], stage[2]);
    if (job.item_bytes == 2)
        static_cast<unsigned short *>(job.out)[index] = half_bits(value);
    else
        static_cast<float *>(job.out)[index] = value;
}

/// The second pass, the float stage and the padding: item (c, y, x) of the tensor. `T` is the frame's value.
template <typename T, bool along_y>
EDGEPROOF_HOST_DEVICE static void second_pass(const GpuJob &job, int x, int y, int c) {
    using S = Sums<T>;
    using Pixel = typename S::Pixel;
    const long long index = job.planar ? (static_cast<long long>(c) * job.height + y) * job.width + x
                                       : (static_cast<long long>(y) * job.width + x) * job.channels + c;
    const int row = y - job.pad_y;
    const int column = x - job.pad_x;
    if (row < 0 || row >= job.y.outputs || column < 0 || column >= job.x.outputs) {
        write_item(job, index, c, static_cast<Pixel>(job.fill[c]));
        return;
    }
    const GpuPass &pass = along_y ? job.y : job.x;
    const int i = along_y ? row : column;
    const int start = pass.starts[i];
    const int count = pass.counts[i];
    const long long pitch = static_cast<long long>(along_y ? job.x.outputs : job.columns) * job.sampled;
    const long long step = along_y ? pitch : job.sampled;
    const Pixel *from = static_cast<const Pixel *>(job.scratch) + job.map_first + c * job.map_step +
                        (along_y ? start * pitch + static_cast<long long>(column) * job.sampled
                                 : row * pitch + static_cast<long long>(start) * job.sampled);
    if (S::skips_identity && pass.identity) {
        write_item(job, index, c, *from);
        return;
    }
    const auto *weight = static_cast<const typename S::Weight *>(pass.weights) + i;
    typename S::Sum sum = S::begin();
    for (int k = 0; k < count; ++k, from += step, weight += pass.outputs) sum = Sums<Pixel>::add(sum, *weight, *from);
    write_item(job, index, c, S::end(sum));
}

}  // namespace edgeproof::detail
