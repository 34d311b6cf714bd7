#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "edgeproof/contract.h"
#include "edgeproof/frame.h"

namespace edgeproof {

/// How the CUDA kernels make a contract's tensor of frames of one size and format: two launches, one after the other on
/// one stream. The numbers are the CPU's, and so are the bits of the tensor; of frames that are not uint8, those of
/// every finite value.
class GpuPlan {
  public:
    struct Launch {
        std::string kernel;
        std::array<unsigned, 3> grid;
        std::array<unsigned, 3> block;
    };

    /// `layout` is a frame without data: size, channels, colour order, dtype, and format, matrix and range of YUV.
    /// Throws `Error` (kind contract): the contract contradicts itself.
    /// Throws `Error` (kind frame): the frame is empty, too large, or not what the contract takes.
    GpuPlan(Contract contract, const Frame &layout);

    /// What must lie in the GPU's memory, at a multiple of 256 bytes.
    const std::vector<std::uint8_t> &tables() const { return tables_; }

    /// Bytes of GPU memory that the launches write in between.
    std::int64_t scratch_bytes() const { return scratch_bytes_; }

    const std::array<Launch, 2> &launches() const { return launches_; }

    /// The kernels' only argument, in bytes. All addresses are the GPU's.
    ///
    /// `planes`: bgr and yuyv have one, nv12 luma and UV, i420 Y, U and V. `pitches`: bytes from row to row of each.
    /// `out` is a batch slot of the contract's `slot_bytes()`.
    std::vector<std::uint8_t> job(const std::array<std::uint64_t, 3> &planes,
                                  const std::array<std::int64_t, 3> &pitches, std::uint64_t tables,
                                  std::uint64_t scratch, std::uint64_t out) const;

  private:
    std::vector<std::uint8_t> tables_;
    std::vector<std::uint8_t> job_;  ///< with offsets into `tables_` in the place of addresses
    std::int64_t scratch_bytes_ = 0;
    std::array<Launch, 2> launches_;
};

}  // namespace edgeproof
