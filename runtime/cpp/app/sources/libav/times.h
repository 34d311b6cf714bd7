#pragma once

#include <cstdint>
#include <optional>

#include "sources/libav/handles.h"

namespace edgeproof::app::libav {

/// The average frame rate that a video claims; nothing where none is plausible: containers that count milliseconds may
/// claim 1000.
std::optional<double> declared_fps(AVFormatContext &container, const AVStream &video);

/// The number of frames that a file's index declares.
std::optional<std::int64_t> declared_count(const AVStream &video);

/// Whether an address gives frames without a known end.
bool is_endless(const AVFormatContext &container, const AVStream &video);

/// Presentation times of a video; the rules of `edgeproof_runtime.sources.media_times.MediaClock`.
class MediaClock {
  public:
    MediaClock(AVFormatContext &container, const AVStream &video, bool live);

    /// Time of a frame since the first one, ns.
    std::optional<std::int64_t> media_ns(std::optional<double> pts_s, std::int64_t arrived_ns);

    /// Mean rate of the frames so far; nothing before the sixth.
    std::optional<double> measured_fps() const;

    /// Whether the frames end well before the duration that the index declares.
    bool ends_early() const;

  private:
    std::optional<double> duration_s_;
    double frame_s_;
    bool live_;
    bool timed_;
    std::optional<double> first_s_;
    double last_s_ = 0.0;
    double shift_s_ = 0.0;
    std::int64_t last_arrived_ns_ = 0;
    std::int64_t frames_ = 0;
};

}  // namespace edgeproof::app::libav
