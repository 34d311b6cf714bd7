#include "edgeproof/redact.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "address.h"

// Written out, because std::regex overflows the stack on a text of some ten thousand characters.

namespace edgeproof {
namespace {

constexpr auto npos = std::string::npos;
constexpr std::string_view space = " \t\r\n\f\v";
constexpr std::string_view quotes = "\"'";
constexpr std::string_view behind_quote = " \t\r\n\f\v,;:)]}>!&|";
constexpr std::string_view behind_address = ",;:.)]}>'\"";
constexpr std::string_view secrets[] = {"pw",         "password",   "passwd",    "pwd",       "pass",
                                        "passphrase", "token",      "secret",    "auth",      "authorization",
                                        "apikey",     "api-key",    "api_key",   "accesskey", "access-key",
                                        "access_key", "secret_key", "signature", "sig",       "credentials"};
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

/// Replaces the secrets of the addresses in a text. Each search begins where the last one ended, or is not repeated.
class Addresses {
  public:
    explicit Addresses(std::string_view text) : text_(text) {}

    std::string redacted() {
        for (std::size_t colon = text_.find(":/"); colon != npos; colon = text_.find(":/", std::max(done_, colon + 1))) {
            std::size_t scheme = colon;
            while (scheme > done_ && is_scheme_character(text_[scheme - 1])) --scheme;
            if (!may_hold_secrets(text_.substr(scheme, colon - scheme))) continue;
            // One slash too few is a frequent slip, and no reason to show a password.
            redact_one(scheme, colon, std::min(text_.find_first_not_of('/', colon + 1), text_.size()));
        }
        return out_.append(text_.substr(done_));
    }

  private:
    void redact_one(std::size_t begin, std::size_t colon, std::size_t rest) {
        const std::string_view scheme = text_.substr(begin, colon - begin);
        std::size_t end = closing_quote(begin, rest);
        if (end == npos) {
            end = rest + without_punctuation(text_.substr(rest, find_any(text_, space, rest) - rest)).size();
            if (!show_address(scheme, text_.substr(rest, end - rest), false).sound) end = end_behind_space(end);
        }
        out_.append(text_.substr(done_, rest - done_)).append(show_address(scheme, text_.substr(rest, end - rest), false).text);
        done_ = end;
    }

    static std::string_view without_punctuation(std::string_view address) {
        const std::size_t last = address.find_last_not_of(behind_address);
        return address.substr(0, last == npos ? 0 : last + 1);
    }

    /// The quote that ends an address in quotes on its line, if it is not part of a password; npos without.
    std::size_t closing_quote(std::size_t scheme, std::size_t rest) {
        const std::size_t kind = scheme == 0 ? npos : quotes.find(text_[scheme - 1]);
        if (kind == npos || rest < searched_[kind]) return npos;
        const std::string stops{quotes[kind], '\n'};
        std::size_t at = find_any(text_, stops, rest);
        for (; at < text_.size() && text_[at] != '\n'; at = find_any(text_, stops, at + 1)) {
            if (at + 1 < text_.size() && behind_quote.find(text_[at + 1]) == npos) continue;
            const std::size_t next = find_any(text_, "@ \t\r\n\f\v", at);
            if (next == text_.size() || text_[next] != '@') return at;
            at = next;
        }
        searched_[kind] = at;
        return npos;
    }

    /// A password with a space: the address then goes on behind the next "@", if that is of no other address.
    std::size_t end_behind_space(std::size_t end) const {
        const std::size_t next = std::min(text_.find(":/", end), text_.size());
        const std::size_t at = find_any(text_.substr(0, next), "@\n", end);
        if (at == next || text_[at] == '\n') return end;
        const std::size_t stop = find_any(text_, space, at);
        return at + without_punctuation(text_.substr(at, stop - at)).size();
    }

    std::string_view text_;
    std::string out_;
    std::size_t done_ = 0;
    std::array<std::size_t, 2> searched_{};  ///< of each quote: none closes an address before this position
};

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

/// Whether a text ends with the name of a secret, in capitals or not, perhaps in quotes, and whitespace.
bool names_secret(std::string_view text, bool in_quotes) {
    while (const std::size_t bytes = space_at(text, true)) text.remove_suffix(bytes);
    const bool quoted = !text.empty() && quotes.find(text.back()) != npos;
    if (quoted) text.remove_suffix(1);
    if (in_quotes && !quoted) return false;
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
    if (at < text.size() && quotes.find(text[at]) != npos)
        return std::min(text.find(text[at], at + 1), text.size() - 1) + 1;
    return find_any(text, "&!,'\" \t\r\n\f\v", at);
}

/// Replace the values of `password=value` and of `"password": value`.
std::string redact_values(std::string_view text) {
    std::string redacted;
    std::size_t done = 0;
    for (std::size_t sign = text.find_first_of("=:"); sign != npos;
         sign = text.find_first_of("=:", std::max(done, sign + 1))) {
        if (!names_secret(text.substr(done, sign - done), text[sign] == ':')) continue;
        std::size_t value = sign + 1;
        while (const std::size_t bytes = space_at(text.substr(value), false)) value += bytes;
        const std::size_t end = end_of_value(text, value);
        if (text.substr(value, end - value).find_first_not_of('=') == npos) continue;  // none, or the end of base64
        redacted.append(text.substr(done, value - done)).append("***");
        done = end;
    }
    return redacted.append(text.substr(done));
}

std::string show(const std::string &address, bool bare) {
    const std::string_view text = address;
    const auto scheme = std::find_if_not(text.begin(), text.end(), is_scheme_character);
    const auto colon = static_cast<std::size_t>(scheme - text.begin());
    if (text.substr(colon, 2) == ":/") {
        if (!may_hold_secrets(text.substr(0, colon))) return address;
        const std::size_t rest = std::min(text.find_first_not_of('/', colon + 1), text.size());
        return std::string(text.substr(0, rest)).append(show_address(text.substr(0, colon), text.substr(rest), bare).text);
    }
    // "user:password@camera": an address whose scheme was forgotten.
    const bool has_user = colon > 0 && text.substr(colon, 1) == ":" && text.substr(colon, 2) != ":\\" &&
                          text.find('@', colon) != npos;
    return has_user && text.find(" ! ") == npos ? show_address({}, text, bare).text : redact(address);
}

}  // namespace

std::string redact(const std::string &text) { return redact_values(Addresses(text).redacted()); }

std::string redact_address(const std::string &address) { return show(address, false); }

std::string without_credentials(const std::string &address) { return show(address, true); }

}  // namespace edgeproof
