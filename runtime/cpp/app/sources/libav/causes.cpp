#include "sources/libav/causes.h"

extern "C" {
#include <libavutil/error.h>
}

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <regex>

#include "sources/text.h"

namespace edgeproof::app::libav {
namespace {

constexpr const char *encode = "percent-encode a password: / as %2F, # as %23, ? as %3F, @ as %40, : as %3A";

struct Row {
    const char *pattern;
    const char *key;
    const char *got;
    const char *fix;
};

// The first match in FFmpeg's log lines and its error.
constexpr Row by_text[] = {
    {"Connection refused", "refused", "connection refused",
     "check the port, and that the server on it is enabled and running"},
    {"No route to host|Network is unreachable|Host is unreachable", "unreachable", "the host is not reachable",
     "check the address and that both are in one network"},
    {"not on whitelist", "redirected", "the server redirects to an address of another kind",
     "pass the address that it redirects to; a browser shows it"},
    {"\\[tls\\]|certificate|SSL|handshake|TLS", "tls", "TLS failed",
     "check that the port speaks TLS (else rtsp:// or http://), and its certificate"},
    {"misdetection possible", "not-video", "no video that FFmpeg recognises", ""},
    {"moov atom not found", "no-index",
     "no index (moov atom): the recording was not finished, or the file is cut off",
     "copy it again; repair a recording that was not finished with a tool such as untrunc"},
    {"Protocol not found", "protocol", "this FFmpeg does not support the protocol",
     "offer the stream as RTSP, such as by MediaMTX"},
    {"Connection reset|Broken pipe|End of file|(?:ends|ended) prematurely", "closed",
     "the connection was closed before any video", "check that the server has a stream to give"},
    {"Permission denied", "permission", "permission denied", "check who may read it"},
    {"No such file or directory", "not-found", "not found", "check the path"},
    {"Invalid data found", "not-video", "no video that FFmpeg recognises", ""},
};

struct Status {
    int number;
    const char *key;
    const char *fix;
};

constexpr Status by_status[] = {
    {401, "unauthorized", "check user and password (SCHEME://USER:PASSWORD@HOST/...); "},
    {403, "forbidden", "check that the account may see this stream, and that its address is not blocked"},
    {404, "not-found", "check the path after the host: the manual of the camera, or its ONVIF profile, names it"},
    {429, "too-many", "the server limits requests: wait, or raise its limit"},
    {453, "too-many", "the camera has no bandwidth left: close other clients"},
    {454, "client-error", "the camera ended the session: try again"},
    {461, "client-error", "the camera refuses this transport: append ?udp or ?tcp to the address"},
    {503, "server-error", "the server is busy or has no stream now: check its clients and its own log"},
};

int status_of(int error) {
    switch (error) {
        case AVERROR_HTTP_BAD_REQUEST: return 400;
        case AVERROR_HTTP_UNAUTHORIZED: return 401;
        case AVERROR_HTTP_FORBIDDEN: return 403;
        case AVERROR_HTTP_NOT_FOUND: return 404;
        default: return 0;
    }
}

std::string name_of_status(int number) {
    switch (number) {
        case 400: return "Bad Request";
        case 401: return "Unauthorized";
        case 403: return "Forbidden";
        case 404: return "Not Found";
        case 429: return "Too Many Requests";
        default: return {};
    }
}

std::string trimmed(const std::string &text) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin == std::string::npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::optional<Cause> status_cause(int error, const std::string &text) {
    static const std::regex pattern("(?:HTTP error|\\w+ failed:|Server returned) (\\d{3})\\b *([^\\n:(,']*)");
    std::smatch found;
    const bool logged = std::regex_search(text, found, pattern);
    const int number = logged ? std::stoi(found[1].str()) : status_of(error);
    if (number < 300 || number >= 600) return std::nullopt;
    std::string said = name_of_status(number);
    if (said.empty() && logged) said = trimmed(found[2].str());
    Cause cause{number >= 500 ? "server-error" : "client-error",
                trimmed("the server answered " + std::to_string(number) + " " + said),
                "check the address and the server's own log"};
    for (const Status &status : by_status) {
        if (status.number != number) continue;
        cause.key = status.key;
        cause.fix = status.fix + std::string(number == 401 ? encode : "");
    }
    return cause;
}

}  // namespace

std::string error_text(int error) {
    std::array<char, 128> text{};
    av_strerror(error, text.data(), text.size());
    return text.data();
}

Cause cause_of(int error, const std::vector<std::string> &log, std::optional<double> limit_s) {
    std::string text;
    for (const std::string &line : log) text += line + "\n";
    const std::string said = error_text(error);
    text += said;
    if (const auto status = status_cause(error, text)) return *status;
    static const std::regex host("Failed to resolve hostname ([^:\\s]+): ([^\\n]+)");
    std::smatch found;
    if (std::regex_search(text, found, host))
        return {"host-not-found", "host " + found[1].str() + " not found (" + trimmed(found[2].str()) + ")",
                "check the host name and this machine's DNS; an IP address needs none"};
    if (limit_s) {
        std::array<char, 64> waited{};
        std::snprintf(waited.data(), waited.size(), "no video within %g s", *limit_s);
        return {"timeout", waited.data(),
                "check the address, that the port is reachable from this machine, and that a video is being sent"};
    }
    for (const Row &row : by_text)
        if (std::regex_search(text, std::regex(row.pattern))) return {row.key, row.got, row.fix};
    return {"other", said, {}};
}

Cause no_decoder(const std::string &codec) {
    return {"no-decoder", "no decoder for codec " + codec,
            "convert it to H.264: ffmpeg -i INPUT -c:v libx264 OUT.mp4"};
}

Cause no_video(const std::string &others) {
    return {"no-video", "no video stream; " + (others.empty() ? "no stream at all" : "only " + others),
            "check that the source sends video"};
}

Cause cut_off() { return {"cut", "it ends before any video", "copy it again: it is cut off or damaged"}; }

Cause no_answer() {
    return {"redirected", "no answer with a video; the server may redirect in a circle",
            "open the address in a browser, and pass the one that shows the video"};
}

Cause html_page() {
    return {"html", "an HTML page, not a video",
            "pass the address of the stream itself, not of the page that shows it; a login page means missing "
            "credentials"};
}

bool is_html(const std::string &begin) {
    const std::string_view text(begin);
    const std::string_view page = text.substr(std::min(text.find_first_not_of(" \t\r\n\xef\xbb\xbf"), text.size()));
    return begins_in_any_case(page, "<!doctype html") || begins_in_any_case(page, "<html") ||
           begins_in_any_case(page, "<head");
}

}  // namespace edgeproof::app::libav
