#include "edgeproof/capture.h"

#include <algorithm>
#include <cmath>

#include "edgeproof/spec.h"

namespace edgeproof {

std::int64_t stamped_ns(double stamp_ms, std::int64_t arrived_ns) {
    const double stamp = std::rint(stamp_ms * 1e6);
    if (!(stamp > 0 && stamp <= static_cast<double>(arrived_ns))) return arrived_ns;
    const auto stamp_ns = static_cast<std::int64_t>(stamp);
    const std::int64_t age_ns = arrived_ns - stamp_ns;
    return age_ns >= 0 && age_ns < spec::max_stamp_age_ns ? stamp_ns : arrived_ns;
}

bool GrabCount::failed(double waited_s) {
    ++failed_in_a_row_;
    // A broken packet is refused at once; a grab that waited has run into the time limit.
    if (waited_s > read_timeout_s_ / 2) return true;
    if (!claimed_) return failed_in_a_row_ > spec::broken_in_a_row_live;
    return frames_ + failed_in_a_row_ > *claimed_ || failed_in_a_row_ > spec::broken_in_a_row;
}

std::int64_t GrabCount::grabbed(bool decoded) {
    frames_ += failed_in_a_row_;
    broken_ += failed_in_a_row_ + (decoded ? 0 : 1);
    failed_in_a_row_ = 0;
    return frames_++;
}

std::vector<std::string> GrabCount::losses(bool live) const {
    std::vector<std::string> found;
    const std::string frames = std::to_string(frames_);
    if (broken_ > 0) found.push_back(std::to_string(broken_) + " of " + frames + " frames could not be decoded");
    if (live) {
        found.push_back("stopped giving frames after " + frames);
        return found;
    }
    // Containers round their frame count; a file that was cut off lacks far more.
    const std::int64_t missing = claimed_.value_or(frames_) - frames_;
    const double tolerated = std::max(static_cast<double>(spec::missing_frames_tolerated),
                                      static_cast<double>(frames_ + missing) * spec::missing_share_tolerated);
    if (static_cast<double>(missing) > tolerated) {
        found.push_back("gave " + frames + " of " + std::to_string(frames_ + missing) +
                        " frames; it is cut off or damaged");
    }
    return found;
}

}  // namespace edgeproof
