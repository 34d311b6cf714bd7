#include "printable.h"

#include <cstdio>

#include "edgeproof/utf8.h"

namespace edgeproof {

bool is_mark(char32_t character) {
    const auto within = [character](char32_t first, char32_t last) { return first <= character && character <= last; };
    return within(0x7F, 0x9F) || character == 0x61C || within(0x200E, 0x200F) || within(0x2028, 0x202E) ||
           within(0x2066, 0x2069);
}

char32_t code_point(std::string_view sequence) {
    const auto byte = [sequence](std::size_t i) { return static_cast<unsigned char>(sequence[i]); };
    if (sequence.size() == 1) return byte(0);
    char32_t found = byte(0) & (0xFFU >> (sequence.size() + 1));
    for (std::size_t i = 1; i < sequence.size(); ++i) found = found << 6 | (byte(i) & 0x3FU);
    return found;
}

std::string printable(std::string_view text) {
    std::string shown;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = utf8_length(text, at);
        const char32_t found = length == 0 ? static_cast<unsigned char>(text[at]) : code_point(text.substr(at, length));
        const bool control = found < 0x20 && found != '\t' && found != '\n';
        if (length == 0 || control || is_mark(found)) {
            char escape[16];
            std::snprintf(escape, sizeof escape, found < 0x100 ? "\\x%02x" : "\\u%04x", static_cast<unsigned>(found));
            shown += escape;
        } else {
            shown.append(text, at, length);
        }
        at += length == 0 ? 1 : length;
    }
    return shown;
}

}  // namespace edgeproof
