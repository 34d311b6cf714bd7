#include "sources/options.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "edgeproof/failure.h"
#include "system/units.h"

namespace edgeproof::app {
namespace {

constexpr double largest = 100'000;  // of rates and durations, as `SourceOptions` of Python

}  // namespace

double parse_duration(const std::string &option, const std::string &text) {
    const auto seconds = seconds_of(text);
    if (!seconds || *seconds > largest)
        throw bad_input(option + ": not a duration in range", "'" + text + "'",
                        "5 (seconds), 500ms, 1m or similar, at most 100000 s");
    return *seconds;
}

int parse_rotation_angle(const std::string &text) {
    for (const int degrees : {0, 90, 180, 270})
        if (text == std::to_string(degrees)) return degrees;
    throw bad_input("--rotate: unsupported angle", "'" + text + "'", "0, 90, 180 or 270");
}

Crop parse_crop(const std::string &text) {
    std::array<int, 4> numbers{};
    std::string_view rest = text;
    bool valid = true;
    for (std::size_t i = 0; i < numbers.size() && valid; ++i) {
        const bool last = i + 1 == numbers.size();
        const std::size_t comma = rest.find(',');
        std::string_view part = rest.substr(0, comma);
        part.remove_prefix(std::min(part.find_first_not_of(' '), part.size()));
        part = part.substr(0, part.find_last_not_of(' ') + 1);
        const auto number = number_of<int>(part);
        valid = number && *number >= (i < 2 ? 0 : 1) && (comma == std::string_view::npos) == last;
        numbers[i] = number.value_or(0);
        rest.remove_prefix(last || !valid ? rest.size() : comma + 1);
    }
    if (!valid)
        throw bad_input("--crop: invalid", "'" + text + "'", "x,y,width,height in pixels, such as 0,0,640,480");
    return {numbers[0], numbers[1], numbers[2], numbers[3]};
}

double parse_rate_limit(const std::string &text) {
    const auto rate = number_of<double>(text);
    if (!rate || !(*rate > 0 && *rate <= largest))
        throw bad_input("--rate-limit: out of range", "'" + text + "'", "frames per second, above 0 to 100000");
    return *rate;
}

double parse_share(const std::string &option, const std::string &text) {
    const auto share = number_of<double>(text);
    if (!share || !(*share > 0 && *share <= 1))
        throw bad_input(option + ": out of range", "'" + text + "'", "a share, above 0 to 1");
    return *share;
}

}  // namespace edgeproof::app
