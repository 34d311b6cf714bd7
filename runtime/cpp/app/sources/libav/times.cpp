#include "sources/libav/times.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>

#include "edgeproof/spec.h"

namespace edgeproof::app::libav {
namespace {

constexpr double plausible_fps = 480;
constexpr std::int64_t frames_for_a_rate = 5;
constexpr double largest_step_s = 10.0;
constexpr double usual_fps = 25.0;

/// Whether one of a demuxer's names ("mov,mp4,m4a") is among these.
bool is_one_of(const AVFormatContext &container, std::initializer_list<const char *> names) {
    const std::string own = "," + std::string(container.iformat->name) + ",";
    return std::any_of(names.begin(), names.end(), [&own](const char *name) {
        return own.find("," + std::string(name) + ",") != std::string::npos;
    });
}

}  // namespace

std::optional<double> declared_fps(AVFormatContext &container, const AVStream &video) {
    auto &stream = const_cast<AVStream &>(video);  // which FFmpeg only reads
    for (const AVRational rate : {video.avg_frame_rate, av_guess_frame_rate(&container, &stream, nullptr)}) {
        const double fps = rate.den != 0 ? av_q2d(rate) : 0.0;
        if (fps > 0 && fps <= std::min(plausible_fps, spec::max_fps)) return fps;
    }
    return std::nullopt;
}

std::optional<std::int64_t> declared_count(const AVStream &video) {
    if (video.nb_frames <= 0 || video.nb_frames >= spec::max_frame_count) return std::nullopt;
    return video.nb_frames;
}

bool is_endless(const AVFormatContext &container, const AVStream &video) {
    if (container.duration != AV_NOPTS_VALUE) return false;
    if (is_one_of(container, {"hls", "dash"})) return true;
    const bool sized = container.pb != nullptr && avio_size(container.pb) > 0;
    return video.nb_frames == 0 && !sized;
}

MediaClock::MediaClock(AVFormatContext &container, const AVStream &video, bool live)
    : frame_s_(1 / declared_fps(container, video).value_or(usual_fps)),
      live_(live),
      // FFmpeg numbers the frames of these as if there were 25 a second.
      timed_(!(live && is_one_of(container, {"mjpeg", "mpjpeg"}))) {
    if (video.duration != AV_NOPTS_VALUE) duration_s_ = static_cast<double>(video.duration) * av_q2d(video.time_base);
}

std::optional<std::int64_t> MediaClock::media_ns(std::optional<double> pts_s, std::int64_t arrived_ns) {
    if (!pts_s || !timed_) return std::nullopt;
    if (!first_s_) first_s_ = pts_s;
    double seconds = *pts_s - *first_s_ + shift_s_;
    if (frames_ > 0) {
        const double step_s = seconds - last_s_;
        std::optional<double> expected_s;
        if (live_) {
            // A camera may set its clock while it sends.
            const double waited_s = static_cast<double>(arrived_ns - last_arrived_ns_) / 1e9;
            if (step_s < 0 || step_s > waited_s + largest_step_s) expected_s = waited_s;
        } else if (step_s < -frame_s_) {
            expected_s = frame_s_;  // recordings that were joined as they are
        }
        if (expected_s) {
            shift_s_ += *expected_s - step_s;
            seconds = last_s_ + *expected_s;
        }
    }
    ++frames_;
    last_s_ = std::max(last_s_, seconds);
    last_arrived_ns_ = arrived_ns;
    return std::max<std::int64_t>(0, std::llrint(seconds * 1e9));
}

std::optional<double> MediaClock::measured_fps() const {
    if (frames_ <= frames_for_a_rate || last_s_ <= 0) return std::nullopt;
    return static_cast<double>(frames_ - 1) / last_s_;
}

bool MediaClock::ends_early() const {
    if (!duration_s_ || !first_s_) return false;
    const double fps = measured_fps().value_or(1.0);
    return *duration_s_ - last_s_ > std::max(3 / fps, *duration_s_ * spec::missing_share_tolerated);
}

}  // namespace edgeproof::app::libav
