#include "tensor_writer.h"

#include "arithmetic.h"

namespace edgeproof::detail {

TensorWriter::TensorWriter(const Contract &contract, DType dtype, Layout layout)
    : dtype_(dtype), layout_(layout), size_(contract.tensor_size()), channels_(contract.channels()),
      fill_(contract.fill) {
    for (int c = 0; c < channels_; ++c)
        for (int value = 0; value < 256; ++value) {
            const float x = float_stage(static_cast<float>(value), static_cast<float>(contract.scale),
                                        static_cast<float>(contract.mean[static_cast<std::size_t>(c)]),
                                        static_cast<float>(contract.std[static_cast<std::size_t>(c)]));
            if (dtype == DType::float32) floats_.push_back(x);
            if (dtype == DType::float16) halves_.push_back(half_bits(x));
            if (dtype == DType::uint8) bytes_.push_back(static_cast<std::uint8_t>(value));
        }
}

std::size_t TensorWriter::alignment() const {
    return dtype_ == DType::float32 ? alignof(float) : dtype_ == DType::float16 ? alignof(std::uint16_t) : 1;
}

const void *TensorWriter::table() const {
    if (dtype_ == DType::float32) return floats_.data();
    if (dtype_ == DType::float16) return halves_.data();
    return bytes_.data();
}

void TensorWriter::write_row(const std::uint8_t *pixels, const ChannelMap &map, std::int64_t y, std::int64_t x,
                             std::int64_t count, void *out) const {
    switch (dtype_) {
        case DType::float32: return write_items(floats_, pixels, map, y, x, count, static_cast<float *>(out));
        case DType::float16: return write_items(halves_, pixels, map, y, x, count, static_cast<std::uint16_t *>(out));
        case DType::uint8: return write_items(bytes_, pixels, map, y, x, count, static_cast<std::uint8_t *>(out));
    }
}

template <typename T>
void TensorWriter::write_items(const std::vector<T> &table, const std::uint8_t *pixels, const ChannelMap &map,
                               std::int64_t y, std::int64_t x, std::int64_t count, T *out) const {
    const std::int64_t height = size_.height;
    const std::int64_t width = size_.width;
    for (int c = 0; c < channels_; ++c) {
        const T *values = table.data() + 256 * c;
        const bool planar = layout_ == Layout::nchw;
        T *to = planar ? out + (c * height + y) * width : out + y * width * channels_ + c;
        const std::int64_t step = planar ? 1 : channels_;
        const T fill = values[fill_[static_cast<std::size_t>(c)]];
        for (std::int64_t i = 0; i < x; ++i) to[i * step] = fill;
        for (std::int64_t i = x + count; i < width; ++i) to[i * step] = fill;
        const std::uint8_t *from = pixels + map.first + c * map.step;
        to += x * step;
#pragma GCC unroll 8  // the store is the bottleneck, unless the loop's own bookkeeping is
        for (std::int64_t i = 0; i < count; ++i) to[i * step] = values[from[i * map.pixel_bytes]];
    }
}

}  // namespace edgeproof::detail
