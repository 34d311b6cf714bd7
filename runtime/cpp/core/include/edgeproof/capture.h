#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace edgeproof {

/// When a frame was captured, by the steady clock. `stamp_ms` is what a V4L2 driver stamped on the buffer, milliseconds
/// of the same clock. The stamp counts where it lies in the 10 s before `arrived_ns`, else the arrival: drivers may
/// stamp by another clock, or not at all (0).
std::int64_t stamped_ns(double stamp_ms, std::int64_t arrived_ns);

/// Counts what a video's grabs gave. OpenCV reports a broken packet and the end alike, as a grab without a frame: only
/// the next ones tell which it was.
class GrabCount {
  public:
    /// `claimed_frames`: number of frames that the video claims, if any. `read_timeout_s`: OpenCV's limit for a grab.
    GrabCount(std::optional<std::int64_t> claimed_frames, double read_timeout_s)
        : claimed_(claimed_frames), read_timeout_s_(read_timeout_s) {}

    /// Count a grab that gave nothing and took `waited_s`. Returns whether the video is at its end.
    bool failed(double waited_s);

    /// Count a grab that gave a frame, whether or not it could be decoded. Returns the frame's index.
    std::int64_t grabbed(bool decoded);

    /// What was lost, in sentences for people, once the video is at its end.
    std::vector<std::string> losses(bool live) const;

  private:
    std::optional<std::int64_t> claimed_;
    double read_timeout_s_;
    std::int64_t frames_ = 0;
    std::int64_t broken_ = 0;
    std::int64_t failed_in_a_row_ = 0;
};

}  // namespace edgeproof
