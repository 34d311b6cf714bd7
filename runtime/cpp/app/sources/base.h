#pragma once

#include <cstdint>
#include <map>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "edgeproof/spec.h"

namespace edgeproof::app {

/// One frame as a source gave it; the same facts as `edgeproof_runtime.sources.base.Frame`.
struct Captured {
    cv::Mat image;           ///< BGR uint8, or as many channels and the dtype as the source was opened for
    std::int64_t index = 0;  ///< position in the source, from 0; a skipped file leaves a gap
    std::string name;
    std::int64_t captured_ns = 0;      ///< steady clock: a V4L2 driver's stamp, else when it arrived, not yet decoded
    double capture_ms = 0.0;           ///< how long it took to arrive
    double decode_ms = 0.0;            ///< from what arrived to `image`
    std::optional<std::string> label;  ///< what it shows, where the source was opened with labels
    std::optional<std::int64_t> media_ns;  ///< presentation time since the first frame
    std::string damage;                    ///< what the decoder reported wrong; empty: nothing
    std::optional<FrameHealth> health;     ///< what is wrong with the frame, where it is classified all the same
};

/// Nanoseconds of the steady clock.
std::int64_t now_ns();

/// Milliseconds from one time of the steady clock, in nanoseconds, to another.
inline double ms_between(std::int64_t begin_ns, std::int64_t end_ns) {
    return static_cast<double>(end_ns - begin_ns) / 1e6;
}

/// A time of the steady clock, which has no date, by the wall clock as it stands now: Unix seconds.
double unix_seconds(std::int64_t steady_ns);

class Source {
  public:
    Source() = default;
    Source(const Source &) = delete;
    Source &operator=(const Source &) = delete;
    virtual ~Source() = default;

    /// The next frame, or nothing at the end. What cannot be read is skipped and named in `skipped`.
    virtual std::optional<Captured> next() = 0;

    /// End a `next` that waits in another thread, where the source can; it then gives nothing more.
    virtual void interrupt() {}

    std::string name;           ///< for messages and reports, without credentials
    bool live = false;          ///< frames come at their own pace, so that one not taken in time is stale
    bool of_pictures = false;   ///< each frame is an image file and stands for itself
    std::optional<double> fps;  ///< frames per second that it claims
    std::optional<std::int64_t> frame_count;
    std::vector<std::string> skipped;  ///< what it could not give, each with its reason
    std::vector<std::string> notes;    ///< what differs from what was asked for
    std::map<std::string, std::int64_t> left_out;  ///< frames that it left out on request, by cause
};

}  // namespace edgeproof::app
