#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "edgeproof/contract.h"
#include "edgeproof/frame.h"

namespace edgeproof {

struct PreprocessOptions {
    /// Threads for large frames, the caller's included. Small frames always stay on the caller's thread, and so does
    /// all that threads without a free core do not come to.
    int threads = 1;
    /// One of `simd_levels()`; empty for the best of them.
    std::string simd;
};

/// Turns frames into input tensors as a contract says, in one pass: the uint8 stage equals Pillow's resize bit for
/// bit, the float stage ((x / scale) - mean) / std equals torchvision's ToTensor + Normalize. Frames of uint16 or
/// float32 are resized channel by channel as Pillow resizes mode F, in float32.
///
/// Filter tables are kept for the last eight frame sizes and scratch memory is reused, so a frame of a known size
/// allocates nothing. One object serves one thread at a time.
class Preprocessor {
  public:
    /// Throws `Error` (kind contract) where the contract contradicts itself or asks for an unknown SIMD level.
    explicit Preprocessor(Contract contract, PreprocessOptions options = {});
    ~Preprocessor();
    Preprocessor(Preprocessor &&) noexcept;
    Preprocessor &operator=(Preprocessor &&) noexcept;

    const Contract &contract() const;

    /// Write one frame's tensor (C x H x W or H x W x C of the contract's dtype) to `out`, a batch slot of
    /// `contract().slot_bytes()` bytes that is aligned for the dtype and does not overlap the frame.
    /// Throws `Error` (kind frame): the frame is empty, too large, or its channels or dtype are not the contract's.
    void operator()(const Frame &frame, void *out);

    /// Write only the resized, cropped, padded image: uint8 H x W x C in the contract's channel order.
    /// Throws `Error` (kind frame) also for frames of another dtype than uint8.
    void uint8_stage(const Frame &frame, std::uint8_t *out);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Names of the instruction sets that this build has kernels for and this CPU runs, best first, "portable" last.
std::vector<std::string> simd_levels();

}  // namespace edgeproof
