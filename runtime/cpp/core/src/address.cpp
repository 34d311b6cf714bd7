#include "address.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <vector>

namespace edgeproof {
namespace {

constexpr auto npos = std::string_view::npos;
constexpr std::string_view hidden = "***";

// Their "@" and their query are no secrets, and a path of this machine is none of an address.
constexpr std::array<std::string_view, 3> local_schemes{"synthetic", "csi", "file"};

// What follows these in a path is a secret, as in Slack's, Discord's and Teams' webhooks.
constexpr std::array<std::string_view, 18> secret_follows{
    "services", "webhook", "webhooks", "webhookb2", "hook",         "hooks",   "token",    "tokens", "key",
    "keys",     "secret",  "secrets",  "auth",      "access_token", "apikey",  "password", "pass",   "session"};

// A topic is no address of a stream.
constexpr std::string_view topic_schemes[] = {"mqtt", "mqtts"};

// Panels of TV over IP: .../USER/PASSWORD/1234.ts, behind one of these or nothing. A film may have a name.
constexpr std::string_view films[] = {"movie", "series", "timeshift"};
constexpr std::string_view media_types[] = {"ts",  "m3u8", "mp4",  "mkv", "avi", "flv", "mov",
                                                       "mpg", "mpeg", "webm", "mpd", "m4v", "aac", "mp3"};
// Segments of other addresses that end in two words and a number, such as /Streaming/Channels/101; without their digits.
constexpr std::string_view plain_words[] = {
    "api",     "v",        "models",   "model",    "versions", "version",   "streaming", "stream",  "streams", "channels",
    "channel", "ch",       "c",        "s",        "camera",   "cameras",   "cam",       "cams",    "ipcam",   "video",
    "videos",  "media",    "live",     "movie",    "series",   "hls",       "dash",      "play",    "playlist", "profile",
    "profiles", "onvif",   "isapi",    "psia",     "h",        "mpeg",      "mjpeg",     "mjpg",    "unicast", "multicast",
    "cgi-bin", "image",    "images",   "file",     "files",    "frame",     "frames",    "picture", "pictures", "snapshot",
    "snapshots", "device", "devices",  "track",    "main",     "sub",       "av",        "events",  "nvr",     "dvr"};
constexpr std::size_t longest_plain_number = 3;

constexpr std::size_t longest_port = 5;
constexpr std::size_t longest_key = 32;
constexpr std::size_t random_at_any_rate = 20;  // characters; words are shorter
constexpr std::size_t random_if_mixed = 12;
constexpr std::size_t random_if_hexadecimal = 16;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_letter(char c) { return is_upper(c) || is_lower(c); }

template <class Words>
bool contains(const Words &words, std::string_view found) {
    return std::any_of(std::begin(words), std::end(words), [found](std::string_view word) {
        return word.size() == found.size() &&
               std::equal(word.begin(), word.end(), found.begin(), [](char a, char b) { return a == lower(b); });
    });
}

/// A long word, or one of letters and digits (or small and large letters) in turns.
bool is_random_word(std::string_view word) {
    if (word.size() >= random_at_any_rate) return true;
    if (word.size() < random_if_mixed) return false;
    int kinds = 0;
    int capitals = 0;
    for (std::size_t i = 1; i < word.size(); ++i) {
        kinds += is_digit(word[i - 1]) != is_digit(word[i]) ? 1 : 0;
        capitals += is_lower(word[i - 1]) && is_upper(word[i]) ? 1 : 0;
    }
    return kinds >= 2 || capitals >= 3;
}

/// Letters, digits, "-" and "_".
bool is_random_piece(std::string_view piece) {
    const bool digits = std::any_of(piece.begin(), piece.end(), is_digit);
    const bool small = std::any_of(piece.begin(), piece.end(), is_lower);
    const bool large = std::any_of(piece.begin(), piece.end(), is_upper);
    if (piece.size() >= random_at_any_rate && digits && small && large) return true;
    const bool hexadecimal = std::all_of(piece.begin(), piece.end(), [](char c) {
        return is_digit(c) || c == '-' || (lower(c) >= 'a' && lower(c) <= 'f');
    });
    const auto dashes = static_cast<std::size_t>(std::count(piece.begin(), piece.end(), '-'));
    if (hexadecimal && digits && (small || large) && piece.size() - dashes >= random_if_hexadecimal) return true;
    for (std::size_t at = 0; at < piece.size();) {
        const std::size_t end = std::min(piece.find_first_of("-_", at), piece.size());
        if (is_random_word(piece.substr(at, end - at))) return true;
        at = end + 1;
    }
    return false;
}

bool looks_random(std::string_view text) {
    const auto belongs = [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '_'; };
    for (auto at = text.begin(); at != text.end();) {
        const auto end = std::find_if_not(at, text.end(), belongs);
        if (is_random_piece({text.data() + (at - text.begin()), static_cast<std::size_t>(end - at)})) return true;
        at = end == text.end() ? end : end + 1;
    }
    return false;
}

bool may_be_shown(std::string_view key) {
    return !key.empty() && key.size() <= longest_key && !looks_random(key) &&
           std::all_of(key.begin(), key.end(), [](char c) {
               return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == '.' || c == '[' || c == ']';
           });
}

/// "key=***", or "***" if the key may be the secret.
std::string show_pair(std::string_view pair) {
    const std::size_t equals = pair.find('=');
    const bool has_value = equals != npos && pair.find_first_not_of('=', equals) != npos;
    if (!has_value || !may_be_shown(pair.substr(0, equals))) return std::string(hidden);
    return std::string(pair.substr(0, equals + 1)).append(hidden);
}

std::string show_query(std::string_view query) {
    std::string shown;
    for (std::size_t at = 0; at <= query.size();) {
        const std::size_t end = std::min(query.find_first_of("&;", at), query.size());
        if (end > at) shown.append(show_pair(query.substr(at, end - at)));
        if (end < query.size()) shown.push_back(query[end]);
        at = end + 1;
    }
    return shown;
}

bool is_number(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_digit); }

/// "1234" or "1234.ts".
bool is_stream_number(std::string_view segment) {
    const std::size_t dot = segment.find('.');
    return is_number(segment.substr(0, dot)) && (dot == npos || contains(media_types, segment.substr(dot + 1)));
}

bool is_plain_word(std::string_view segment) {
    if (is_number(segment)) return segment.size() <= longest_plain_number;
    return contains(plain_words, segment.substr(0, segment.find_last_not_of("0123456789") + 1));
}

std::vector<std::string_view> segments_of(std::string_view path) {
    std::vector<std::string_view> segments;
    for (std::size_t at = 0; (at = path.find_first_not_of("/\\", at)) != npos;) {
        const std::size_t end = std::min(path.find_first_of("/\\", at), path.size());
        segments.push_back(path.substr(at, end - at));
        at = end;
    }
    return segments;
}

/// Where the user of a panel of TV over IP begins in a path, whose password is the next segment; npos without.
std::size_t find_panel_user(std::string_view path) {
    const std::vector<std::string_view> segments = segments_of(path);
    const std::size_t count = segments.size();
    const auto at = [&](std::size_t index) { return static_cast<std::size_t>(segments[index].data() - path.data()); };
    for (std::size_t i = 0; i + 3 < count; ++i)
        if (contains(films, segments[i])) return at(i + 1);
    if (count < 3 || !is_stream_number(segments[count - 1]) || is_plain_word(segments[count - 3])) return npos;
    const bool has_type = segments[count - 1].find('.') != npos;
    return has_type || !is_plain_word(segments[count - 2]) ? at(count - 3) : npos;
}

/// A path, each of its segments behind its slash.
std::string show_path(std::string_view path, bool may_be_panel) {
    std::string shown;
    const std::size_t user = may_be_panel ? find_panel_user(path) : npos;
    int secrets = 2;
    for (std::size_t at = 0; at < path.size();) {
        const std::size_t end = std::min(path.find_first_of("/\\", at + 1), path.size());
        const std::string_view segment = path.substr(at + 1, end - at - 1);
        shown.push_back(path[at]);
        if (segment.find('=') != npos) return shown.append(show_pair(segment));  // a value may hold slashes
        if (segment.find(':') != npos) return shown.append(hidden);  // and so may a password
        const bool secret = user != npos && at + 1 >= user && secrets > 0 && !segment.empty();
        secrets -= secret ? 1 : 0;
        shown.append(secret || looks_random(segment) ? hidden : segment);
        if (contains(secret_follows, segment) && end + 1 < path.size()) return shown.append({path[end]}).append(hidden);
        at = end;
    }
    return shown;
}

bool ends_in_port_or_host(std::string_view authority) {
    const std::size_t bracket = !authority.empty() && authority[0] == '[' ? authority.find(']') : 0;
    const std::size_t colon = bracket == npos ? 0 : authority.find(':', bracket);
    if (colon == npos) return true;
    const std::string_view port = authority.substr(colon + 1);
    return bracket != npos && port.size() <= longest_port && std::all_of(port.begin(), port.end(), is_digit);
}

struct Parts {
    std::size_t host;      ///< behind the "@" of a user; 0 without
    std::size_t path;      ///< end of host and port
    std::size_t question;  ///< the query's, behind the last "@" that belongs to a user
    bool sound;
};

Parts split(std::string_view rest, std::size_t host, std::size_t question) {
    const std::size_t path = std::min(rest.find_first_of("/\\#", host), question);
    const std::string_view authority = rest.substr(host, path - host);
    // An "@" behind a slash may be of the path, as in the webhooks of Teams: no host precedes that path then.
    const bool in_path = rest.substr(0, host).find('/') != npos;
    return {host, path, question, ends_in_port_or_host(authority) && !(in_path && looks_random(authority))};
}

Parts split(std::string_view rest) {
    const std::size_t question = std::min(rest.find('?'), rest.size());
    const std::size_t at = rest.substr(0, question).rfind('@');
    const Parts parts = split(rest, at == npos ? 0 : at + 1, question);
    const std::size_t last = rest.rfind('@');
    if (last == npos || last < question || (parts.sound && parts.path < question)) return parts;
    // A password may hold a question mark as well: what precedes it is then no host.
    return split(rest, last + 1, std::min(rest.find('?', last), rest.size()));
}

}  // namespace

bool may_hold_secrets(std::string_view scheme) { return scheme.size() > 1 && !contains(local_schemes, scheme); }

bool is_scheme_character(char c) { return is_letter(c) || is_digit(c) || c == '+' || c == '.' || c == '-'; }

ShownAddress show_address(std::string_view scheme, std::string_view rest, bool bare) {
    const Parts parts = split(rest);
    if (!parts.sound) return {std::string(hidden), false};
    const std::size_t hash = std::min(rest.find('#', parts.path), rest.size());
    const std::size_t question = std::min(parts.question, hash);
    std::string shown = bare || parts.host == 0 ? "" : std::string(hidden).append("@");
    shown.append(rest.substr(parts.host, parts.path - parts.host));
    shown.append(show_path(rest.substr(parts.path, question - parts.path), !contains(topic_schemes, scheme)));
    if (bare) return {shown, true};
    if (question < hash) shown.append("?").append(show_query(rest.substr(question + 1, hash - question - 1)));
    if (hash + 1 < rest.size()) shown.append("#").append(hidden);
    return {shown, true};
}

}  // namespace edgeproof
