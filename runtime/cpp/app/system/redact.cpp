#include "system/redact.h"

#include <algorithm>
#include <cctype>

// Written out, because std::regex overflows the stack on a text of some ten thousand characters.

namespace edgeproof::app {
namespace {

constexpr auto npos = std::string::npos;
constexpr const char *space = " \t\r\n\f\v";
constexpr const char *secrets[] = {"user-pw", "password", "passwd",  "pwd",     "token",
                                   "secret",  "apikey",   "api-key", "api_key", "signature"};

std::size_t skip(const std::string &text, std::size_t at, const char *characters) {
    return std::min(text.find_first_not_of(characters, at), text.size());
}

/// Passwords between the colon after a user's name and the last "@" before the path.
std::string redact_addresses(std::string text) {
    for (std::size_t colon = text.find(":/"); colon != npos; colon = text.find(":/", colon + 1)) {
        // One slash too few is a frequent slip, and no reason to show a password.
        const std::size_t user = skip(text, colon + 1, "/");
        const std::size_t end = text.find_first_of(std::string(":/@") + space, user);
        if (end == npos || text[end] != ':') continue;
        const std::size_t path = std::min(text.find_first_of(std::string("/") + space, end), text.size());
        const std::size_t at = text.rfind('@', path - 1);
        if (at != npos && at > end) text.replace(end + 1, at - end - 1, "***");
    }
    return text;
}

/// Where the value begins of a secret that is named at `at`; npos where none is.
std::size_t value_of_secret(const std::string &text, std::size_t at) {
    for (const std::string name : secrets) {
        std::string found = text.substr(at, name.size());
        std::transform(found.begin(), found.end(), found.begin(), [](unsigned char c) { return std::tolower(c); });
        if (found != name) continue;
        const std::size_t equals = skip(text, at + name.size(), space);
        if (equals < text.size() && text[equals] == '=') return skip(text, equals + 1, space);
    }
    return npos;
}

}  // namespace

std::string redact(const std::string &text) {
    const std::string addressed = redact_addresses(text);
    std::string redacted;
    for (std::size_t at = 0; at < addressed.size();) {
        const std::size_t value = value_of_secret(addressed, at);
        if (value == npos || value == addressed.size()) {
            redacted += addressed[at++];
            continue;
        }
        const char quote = addressed[value];
        std::size_t end = value;
        if (quote == '"' || quote == '\'') {
            end = std::min(addressed.find(quote, value + 1), addressed.size() - 1) + 1;
        } else {
            end = std::min(addressed.find_first_of(std::string("&!,'\"") + space, value), addressed.size());
        }
        redacted.append(addressed, at, value - at).append(end > value ? "***" : "");
        at = end;
    }
    return redacted;
}

std::string without_credentials(const std::string &url) {
    const std::size_t host = url.find("://") + 3;
    const std::string rest = url.substr(host, url.find_first_of("?#", host) - host);
    const std::size_t at = rest.substr(0, rest.find('/')).rfind('@');
    return url.substr(0, host) + (at == npos ? rest : rest.substr(at + 1));
}

}  // namespace edgeproof::app
