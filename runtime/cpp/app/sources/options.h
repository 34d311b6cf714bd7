#pragma once

#include <string>

namespace edgeproof::app {

/// How long a network source may take.
struct TimeLimits {
    double open_s = 10.0;  ///< until it is open, seconds
    double read_s = 5.0;   ///< for its next data
};

/// Options of a source; the counterpart of `edgeproof_runtime.sources.options.SourceOptions`.
struct SourceOptions {
    int decode_threads = 0;  ///< of a video; 0: one for addresses, else all cores
    TimeLimits limits;
};

/// A time limit of so many seconds ("5", "500ms", "1m"). Throws `Failure` (bad input): no duration, or over 100,000 s.
double parse_time_limit(const std::string &option, const std::string &text);

}  // namespace edgeproof::app
