#pragma once

#include <cstddef>
#include <string_view>

namespace edgeproof {

/// Bytes of the UTF-8 character that begins at `at`; 0 if none does (RFC 3629, section 4).
inline std::size_t utf8_length(std::string_view text, std::size_t at) {
    const auto byte = [text](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
    const unsigned first = byte(at);
    const unsigned second = byte(at + 1);
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    const std::size_t length = first <= 0xDF ? 2 : first <= 0xEF ? 3 : 4;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte(at + i) & 0xC0U) != 0x80) return 0;
    const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
    const bool surrogate = first == 0xED && second > 0x9F;
    const bool too_large = first == 0xF4 && second > 0x8F;
    return overlong || surrogate || too_large ? 0 : length;
}

}  // namespace edgeproof
