#pragma once

#include <cstdint>
#include <vector>

#include "edgeproof/frame.h"
#include "edgeproof/geometry.h"
#include "filter_table.h"
#include "kernels.h"
#include "tensor_writer.h"

namespace edgeproof::detail {

/// What a frame size needs to know beforehand; the same for every frame of that size.
struct Plan {
    std::int64_t height = 0;
    std::int64_t width = 0;
    int channels = 0;  ///< of the pixels that are resampled: 1 after luma, else the frame's
    Geometry geometry;
    FilterTable y;  ///< `starts` count in `rows`
    FilterTable x;
    std::vector<std::int32_t> rows;  ///< the frame's rows that any output needs, in order

    /// Bytes that the horizontal kernel may read of a row from pixel x.first on.
    std::int64_t read_bytes() const;
};

Plan make_plan(const Contract &contract, std::int64_t height, std::int64_t width, int channels);

/// Memory of one thread, reused from frame to frame.
struct Scratch {
    std::vector<std::uint8_t> staged;    // source rows that the kernels cannot read where they lie
    std::vector<std::uint8_t> ring;      // rows of the first pass that the second still needs
    std::vector<std::uint8_t> vertical;  // rows that the vertical pass wrote
    std::vector<std::uint8_t> filtered;  // rows that the horizontal pass wrote last
    std::vector<const std::uint8_t *> window;

    /// Throws `Error` (kind frame) where a frame would need more than a gigabyte.
    void fit(const Plan &plan);
};

/// Makes tensor rows [begin, end) of one frame.
struct Band {
    const Frame &frame;
    const Plan &plan;
    const Kernels &kernels;
    const TensorWriter &writer;
    ChannelMap map;
    void *out;

    void run(std::int64_t begin, std::int64_t end, Scratch &scratch) const noexcept;
};

}  // namespace edgeproof::detail
