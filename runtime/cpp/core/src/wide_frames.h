#pragma once

#include <cstdint>
#include <vector>

#include "edgeproof/contract.h"
#include "edgeproof/frame.h"
#include "edgeproof/geometry.h"

namespace edgeproof::detail {

/// One pass: output i is the sum of `weights[i]` over the source pixels from `starts[i]` on; frame coordinates.
struct WidePass {
    bool identity = false;
    std::vector<std::int64_t> starts;
    std::vector<std::vector<double>> weights;
    std::int64_t first = 0;  ///< first source pixel that any output needs
    std::int64_t end = 0;    ///< one past the last

    std::int64_t span() const { return end - first; }
};

WidePass make_wide_pass(const Axis &axis, Filter filter);

/// Tensors of uint16 and float32 frames. Each channel is resized as Pillow resizes mode F (src/libImaging/Resample.c):
/// sums in double, each pass rounded to float32, a pass that changes nothing left out. One thread; what a frame size
/// needs is kept for the last size.
class WideFrames {
  public:
    explicit WideFrames(const Contract &contract) : contract_(contract) {}

    /// Write the tensor of a frame that fits the contract. Throws `Error` (kind frame): empty or too large.
    void run(const Frame &frame, void *out);

  private:
    void load(const Frame &frame, int channel);
    void filter_rows(std::int64_t rows);
    void filter_columns(std::int64_t columns);
    void write(int channel, void *out) const;

    Contract contract_;
    std::int64_t height_ = -1;
    std::int64_t width_ = -1;
    Geometry geometry_;
    WidePass y_;
    WidePass x_;
    std::vector<float> pixels_;  // the channel as far as the passes have come
    std::vector<float> other_;
};

}  // namespace edgeproof::detail
