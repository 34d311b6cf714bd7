#include "edgeproof/redact.h"

#include <algorithm>
#include <string_view>

// Written out, because std::regex overflows the stack on a text of some ten thousand characters.

namespace edgeproof {
namespace {

constexpr auto npos = std::string::npos;
constexpr std::string_view space = " \t\r\n\f\v";
constexpr std::string_view secrets[] = {"user-pw", "password", "passwd",  "pwd",     "token",
                                        "secret",  "apikey",   "api-key", "api_key", "signature"};
// Whitespace besides ASCII's, as a web page pastes it (Unicode property White_Space, and the separators 1C to 1F).
constexpr std::string_view wide_spaces[] = {"\x1c",         "\x1d",         "\x1e",         "\x1f",
                                            "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80",
                                            "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84",
                                            "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88",
                                            "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9",
                                            "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};

/// Position of the first of these characters from `at` on, or the text's size.
std::size_t find_any(std::string_view text, std::string_view characters, std::size_t at) {
    return std::min(text.find_first_of(characters, at), text.size());
}

/// Replace passwords between the colon after a user's name and the last "@" before the path.
std::string redact_addresses(std::string text) {
    for (std::size_t colon = text.find(":/"); colon != npos; colon = text.find(":/", colon + 1)) {
        // One slash too few is a frequent slip, and no reason to show a password.
        const std::size_t user = std::min(text.find_first_not_of('/', colon + 1), text.size());
        const std::size_t end = find_any(text, ":/@ \t\r\n\f\v", user);
        if (end == text.size() || text[end] != ':') continue;
        const std::size_t path = find_any(text, "/ \t\r\n\f\v", end);
        const std::size_t at = text.rfind('@', path - 1);
        if (at != npos && at > end) text.replace(end + 1, at - end - 1, "***");
    }
    return text;
}

/// Bytes of the whitespace that `text` begins with, or ends with; 0 where it does not.
std::size_t space_at(std::string_view text, bool at_end) {
    if (text.empty()) return 0;
    if (space.find(at_end ? text.back() : text.front()) != npos) return 1;
    for (const std::string_view wide : wide_spaces) {
        if (wide.size() > text.size()) continue;
        if (text.substr(at_end ? text.size() - wide.size() : 0, wide.size()) == wide) return wide.size();
    }
    return 0;
}

/// Whether a text ends with the name of a secret, in capitals or not, and whitespace.
bool names_secret(std::string_view text) {
    while (const std::size_t bytes = space_at(text, true)) text.remove_suffix(bytes);
    return std::any_of(std::begin(secrets), std::end(secrets), [text](std::string_view name) {
        if (name.size() > text.size()) return false;
        return std::equal(name.begin(), name.end(), text.end() - static_cast<std::ptrdiff_t>(name.size()),
                          [](char expected, char found) {
                              return expected == (found >= 'A' && found <= 'Z' ? found - 'A' + 'a' : found);
                          });
    });
}

/// Where a value ends that begins at `at`: behind its closing quote, or before what separates it from the next.
std::size_t end_of_value(std::string_view text, std::size_t at) {
    if (at < text.size() && (text[at] == '"' || text[at] == '\''))
        return std::min(text.find(text[at], at + 1), text.size() - 1) + 1;
    return find_any(text, "&!,'\" \t\r\n\f\v", at);
}

}  // namespace

std::string redact(const std::string &text) {
    const std::string addressed = redact_addresses(text);
    const std::string_view whole = addressed;
    std::string redacted;
    std::size_t done = 0;
    for (std::size_t equals = whole.find('='); equals != npos; equals = whole.find('=', std::max(done, equals + 1))) {
        if (!names_secret(whole.substr(done, equals - done))) continue;
        std::size_t value = equals + 1;
        while (const std::size_t bytes = space_at(whole.substr(value), false)) value += bytes;
        const std::size_t end = end_of_value(whole, value);
        if (end == value) continue;
        redacted.append(whole.substr(done, value - done)).append("***");
        done = end;
    }
    return redacted.append(whole.substr(done));
}

std::string without_credentials(const std::string &url) {
    const std::size_t host = url.find("://") + 3;
    const std::string rest = url.substr(host, url.find_first_of("?#", host) - host);
    const std::size_t at = rest.substr(0, rest.find('/')).rfind('@');
    return url.substr(0, host) + (at == npos ? rest : rest.substr(at + 1));
}

}  // namespace edgeproof
