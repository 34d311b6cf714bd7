#pragma once

#include <memory>
#include <string>

#include "sources/base.h"
#include "sources/options.h"

namespace edgeproof::app {

/// Where a video comes from.
struct Address {
    enum class Kind { file, url, pipe };

    Kind kind = Kind::file;
    std::string target;  ///< path, URL, or "-"
    std::string name;    ///< for messages, without credentials
    std::string fix;     ///< for a cause that is not known
    SourceOptions options;
};

/// The note where hardware decoding was requested and there is none.
inline const std::string not_granted = "hardware decoding: requested, not granted; the CPU decodes";

/// Capture through FFmpeg's own libraries, a library of its own, edgeproof-libav.so: they bring some hundred others.
struct Libav {
    /// Open a video. Throws `Failure` (bad input) with the cause.
    std::unique_ptr<Source> (*open)(const Address &address);
    /// Of FFmpeg, such as "5.1.9".
    std::string (*version)();
};

/// Open a video through FFmpeg; where it is missing a file or URL through OpenCV, with a note. Throws `Failure` (bad
/// input) with the cause.
std::unique_ptr<Source> open_capture(const Address &address);

/// Loaded when it is first asked for; null where this program was built without it, or FFmpeg is not installed here.
const Libav *ffmpeg();
/// Who reads videos and streams: "FFmpeg 5.1.9", or OpenCV and why.
std::string video_reader();

}  // namespace edgeproof::app
