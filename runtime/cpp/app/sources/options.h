#pragma once

#include <optional>
#include <string>

namespace edgeproof::app {

/// How long a network source may take.
struct TimeLimits {
    double open_s = 10.0;  ///< until it is open, seconds
    double read_s = 5.0;   ///< for its next data
};

/// A part of a frame, pixels.
struct Crop {
    int x = 0;
    int y = 0;
    int width = 0;
    int height = 0;
};

/// Options of a source; the counterpart of `edgeproof_runtime.sources.options.SourceOptions`.
struct SourceOptions {
    int decode_threads = 0;  ///< of a video; 0: one for addresses, else all cores
    bool hardware_decode = false;  ///< decode a video in hardware if there is some; the source's notes say whether
    TimeLimits limits;
    int rotate = 0;                        ///< clockwise, degrees: 0, 90, 180 or 270
    std::optional<Crop> crop;              ///< of the rotated frame
    std::optional<double> rate_limit_fps;  ///< most frames per second
    bool loop = false;                     ///< begin again at the end of a file
    std::optional<double> every_s;         ///< between classified frames; with `on_motion`, between those without motion
    std::optional<double> on_motion;       ///< share of the frame that must change for it to be classified
};

/// The seconds of "5", "500ms" or "1m". Throws `Failure` (bad input): no duration above 0, or over 100,000 s.
double parse_duration(const std::string &option, const std::string &text);
/// A clockwise rotation, degrees. Throws `Failure` (bad input).
int parse_rotation_angle(const std::string &text);
/// "x,y,width,height". Throws `Failure` (bad input).
Crop parse_crop(const std::string &text);
/// Frames per second. Throws `Failure` (bad input).
double parse_rate_limit(const std::string &text);
/// A share, above 0 to 1. Throws `Failure` (bad input).
double parse_share(const std::string &option, const std::string &text);

}  // namespace edgeproof::app
