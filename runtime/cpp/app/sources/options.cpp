#include "sources/options.h"

#include "edgeproof/failure.h"
#include "system/units.h"

namespace edgeproof::app {
namespace {

constexpr double longest_s = 100'000;  // as `SourceOptions` of Python

}  // namespace

double parse_time_limit(const std::string &option, const std::string &text) {
    const auto seconds = seconds_of(text);
    if (!seconds || *seconds > longest_s)
        throw bad_input(option + ": not a duration in range", "'" + text + "'",
                        "5 (seconds), 500ms, 1m or similar, at most 100000 s");
    return *seconds;
}

}  // namespace edgeproof::app
