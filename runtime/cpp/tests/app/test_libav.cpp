#include <array>

#include "check.h"
#include "sources/libav/causes.h"
#include "sources/libav/turn.h"

extern "C" {
#include <libavutil/display.h>
#include <libavutil/error.h>
}

using namespace edgeproof::app::libav;

namespace {

/// Three columns 1 2 3 over 4 5 6, as `turned` gives them, row by row.
std::string shown(const std::array<std::int32_t, 9> &matrix) {
    const cv::Mat picture = (cv::Mat_<std::uint8_t>(2, 3) << 1, 2, 3, 4, 5, 6);
    const cv::Mat upright = turned(picture, turn_of(matrix.data()));
    std::string text;
    for (int row = 0; row < upright.rows; ++row) {
        text += row == 0 ? "" : "/";
        for (int column = 0; column < upright.cols; ++column)
            text += std::to_string(static_cast<int>(upright.at<std::uint8_t>(row, column)));
    }
    return text;
}

std::array<std::int32_t, 9> rotated(double degrees, bool mirrored = false) {
    std::array<std::int32_t, 9> matrix{};
    av_display_rotation_set(matrix.data(), degrees);
    if (mirrored) av_display_matrix_flip(matrix.data(), 1, 0);
    return matrix;
}

}  // namespace

TEST(display_matrices_turn_pictures_upright) {
    CHECK(shown(rotated(0)) == "123/456");
    CHECK(shown(rotated(90)) == "41/52/63");  // clockwise, as FFmpeg counts
    CHECK(shown(rotated(180)) == "654/321");
    CHECK(shown(rotated(270)) == "36/25/14");
    CHECK(shown(rotated(0, true)) == "321/654");
    CHECK(shown(rotated(45)) == "123/456");
    CHECK(turn_of(nullptr).none());
    CHECK(turn_of(std::array<std::int32_t, 9>{}.data()).none());
}

TEST(causes_are_named_by_what_ffmpeg_says) {
    const auto key = [](int error, const std::vector<std::string> &log, std::optional<double> limit = std::nullopt) {
        return cause_of(error, log, limit).key;
    };
    CHECK(key(AVERROR_HTTP_UNAUTHORIZED, {}) == "unauthorized");
    CHECK(key(AVERROR_HTTP_FORBIDDEN, {}) == "forbidden");
    CHECK(key(AVERROR_HTTP_NOT_FOUND, {}) == "not-found");
    CHECK(key(AVERROR_HTTP_SERVER_ERROR, {"[http] HTTP error 503 Service Unavailable"}) == "server-error");
    CHECK(key(AVERROR_HTTP_OTHER_4XX, {"[http] HTTP error 429 Too Many Requests"}) == "too-many");
    CHECK(key(AVERROR_HTTP_OTHER_4XX, {"[rtsp] method SETUP failed: 461 Unsupported transport"}) == "client-error");
    CHECK(key(AVERROR(ECONNREFUSED), {}) == "refused");
    CHECK(key(AVERROR(EHOSTUNREACH), {}) == "unreachable");
    CHECK(key(AVERROR(EIO), {"[tcp] Failed to resolve hostname cam.local: Name or service not known"}) ==
          "host-not-found");
    CHECK(key(AVERROR(EIO), {"[tls] The TLS connection was non-properly terminated."}) == "tls");
    CHECK(key(AVERROR_EXIT, {}, 10.0) == "timeout");
    CHECK(key(AVERROR_INVALIDDATA, {"[mov] moov atom not found"}) == "no-index");
    CHECK(key(AVERROR_INVALIDDATA, {}) == "not-video");
    CHECK(key(AVERROR_PROTOCOL_NOT_FOUND, {}) == "protocol");
    CHECK(key(AVERROR_EOF, {}) == "closed");
    CHECK(key(AVERROR(EACCES), {}) == "permission");
    CHECK(key(AVERROR(EINVAL), {}) == "other");
    CHECK(cause_of(AVERROR_HTTP_UNAUTHORIZED, {}, {}).got == "the server answered 401 Unauthorized");
    CHECK(cause_of(AVERROR(ETIMEDOUT), {}, 5.0).got == "no video within 5 s");
}

TEST(pages_are_told_by_their_beginning) {
    CHECK(is_html("\n <!DOCTYPE HTML PUBLIC>"));
    CHECK(is_html("\xef\xbb\xbf<html>"));
    CHECK(!is_html("<MPD xmlns=...>"));
    CHECK(!is_html(""));
}
