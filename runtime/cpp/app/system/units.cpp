#include "system/units.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>

namespace edgeproof::app {
namespace {

constexpr const char *digits = "0123456789";
// "ms" before "m".
constexpr std::array<std::pair<std::string_view, double>, 5> units{
    {{"ms", 1e-3}, {"s", 1.0}, {"m", 60.0}, {"h", 3600.0}, {"d", 86400.0}}};

/// The end of a number with optional decimals that begins here; the beginning where there is none.
std::size_t end_of_number(std::string_view text) {
    const std::size_t whole = std::min(text.find_first_not_of(digits), text.size());
    if (whole == 0 || whole == text.size() || text[whole] != '.') return whole;
    const std::size_t end = std::min(text.find_first_not_of(digits, whole + 1), text.size());
    return end > whole + 1 ? end : whole;
}

}  // namespace

std::optional<double> seconds_of(const std::string &text) {
    double total = 0.0;
    for (std::string_view rest = text; !rest.empty();) {
        const std::size_t end = end_of_number(rest);
        double number = 0.0;
        if (end == 0 || std::from_chars(rest.data(), rest.data() + end, number).ec != std::errc()) return std::nullopt;
        rest.remove_prefix(end);
        double unit_s = 1.0;
        for (const auto &[name, seconds] : units) {
            if (rest.substr(0, name.size()) != name) continue;
            unit_s = seconds;
            rest.remove_prefix(name.size());
            break;
        }
        total += number * unit_s;
    }
    if (!(total > 0) || !std::isfinite(total)) return std::nullopt;
    return total;
}

}  // namespace edgeproof::app
