#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace edgeproof::app {

/// The number that a whole text is; nothing for other texts.
template <class Number>
std::optional<Number> number_of(std::string_view text) {
    Number value{};
    const char *end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stopped != end) return std::nullopt;
    return value;
}

/// The seconds of "8h", "1h30m", "90s", "250ms" or "90"; nothing where a text is no duration above 0. The counterpart of
/// `edgeproof_runtime.system.units.seconds_of`; tests/golden/durations.json holds both.
std::optional<double> seconds_of(const std::string &text);

}  // namespace edgeproof::app
