#pragma once

#include <optional>
#include <string>
#include <vector>

namespace edgeproof::app::libav {

/// Why a source does not open, or ended; the words of `edgeproof_runtime.sources.causes`.
struct Cause {
    std::string key;  ///< name of the kind
    std::string got;  ///< what happened, in one clause
    std::string fix;  ///< what to do; empty for the source's own
};

/// FFmpeg's words for an AVERROR.
std::string error_text(int error);

/// The cause behind an AVERROR and FFmpeg's log lines meanwhile. `limit_s`: the time limit that passed.
Cause cause_of(int error, const std::vector<std::string> &log, std::optional<double> limit_s);
Cause no_decoder(const std::string &codec);
/// `others`: the streams that there are, such as "audio (aac)".
Cause no_video(const std::string &others);
/// A file or pipe that ends before its video.
Cause cut_off();

/// An HTTP server whose answer is not read; FFmpeg says nothing else of a redirection in a circle.
Cause no_answer();

Cause html_page();

/// Whether a file or response begins like an HTML page.
bool is_html(const std::string &begin);

}  // namespace edgeproof::app::libav
