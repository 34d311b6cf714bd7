#pragma once

#include <strings.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

namespace edgeproof::app {

/// A text with the letters of ASCII in lower case.
inline std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

/// Whether a text begins so, in any case of the letters of ASCII.
inline bool begins_in_any_case(std::string_view text, std::string_view begin) {
    return text.size() >= begin.size() && ::strncasecmp(text.data(), begin.data(), begin.size()) == 0;
}

}  // namespace edgeproof::app
