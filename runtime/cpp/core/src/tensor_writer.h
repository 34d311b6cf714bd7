#pragma once

#include <cstdint>
#include <vector>

#include "edgeproof/contract.h"

namespace edgeproof::detail {

/// Which byte of a resized pixel each channel of the tensor is made of: `first + channel * step`.
struct ChannelMap {
    int pixel_bytes = 3;
    int first = 0;
    int step = 1;
};

/// The float stage, the layout and the padding: rows of resized pixels become rows of the tensor. A uint8 value has
/// only 256 float results per channel, so ((x / scale) - mean) / std is a table, exact by construction.
class TensorWriter {
  public:
    TensorWriter(const Contract &contract, DType dtype, Layout layout);

    /// Row `y` of the tensor at `out`: `count` pixels from column `x` on, the fill colour left and right of them.
    void write_row(const std::uint8_t *pixels, const ChannelMap &map, std::int64_t y, std::int64_t x,
                   std::int64_t count, void *out) const;

    /// Alignment of the tensor's items in bytes.
    std::size_t alignment() const;

    /// The float stage of uint8 values, [channels][256] items of the tensor.
    const void *table() const;

  private:
    template <typename T>
    void write_items(const std::vector<T> &table, const std::uint8_t *pixels, const ChannelMap &map, std::int64_t y,
                     std::int64_t x, std::int64_t count, T *out) const;

    DType dtype_;
    Layout layout_;
    Size size_;
    int channels_;
    std::vector<int> fill_;
    std::vector<float> floats_;          // [channels][256], by dtype only one of these three is filled
    std::vector<std::uint16_t> halves_;  // IEEE 754 binary16 bits
    std::vector<std::uint8_t> bytes_;
};

}  // namespace edgeproof::detail
