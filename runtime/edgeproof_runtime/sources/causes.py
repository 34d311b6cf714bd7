"""Name the cause when FFmpeg cannot open a source, with the fix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeproof_runtime.errors import SourceError

__all__ = ["Cause", "cause_of", "invalid_host", "no_decoder", "no_video", "text_instead"]

_ENCODE = "percent-encode a password: / as %2F, # as %23, ? as %3F, @ as %40, : as %3A"
_STATUS = re.compile(r"(?:HTTP error|\w+ failed:|Server returned) (\d{3})\b *([^\n:(,']*)")
_HOST = re.compile(r"Failed to resolve hostname ([^:\s]+): ([^\n]+)")
_UNKNOWN_CODEC = re.compile(r"\(Video: (?:none|unknown)? ?\(?([^/,)]*)")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a source cannot be opened.

    Attributes:
        key: name of the kind, for tests and programs.
        got: what happened, in one clause.
        fix: what to do; empty for the source's own.
    """

    key: str
    got: str
    fix: str = ""


# By the first match in FFmpeg's error and log lines.
_CAUSES: tuple[tuple[str, Cause], ...] = (
    (
        r"Connection refused|ConnectionRefused",
        Cause("refused", "connection refused", "check the port, and that the server on it is enabled and running"),
    ),
    (
        r"No route to host|Network is unreachable|Host is unreachable",
        Cause("unreachable", "the host is not reachable", "check the address and that both are in one network"),
    ),
    (
        r"not on whitelist",
        Cause(
            "redirected",
            "the server redirects to an address of another kind",
            "pass the address that it redirects to; a browser shows it",
        ),
    ),
    (
        r"\[tls\]|certificate|SSL|handshake|TLS",
        Cause("tls", "TLS failed", "check that the port speaks TLS (else rtsp:// or http://), and its certificate"),
    ),
    (
        r"misdetection possible",
        Cause("not-video", "no video that FFmpeg recognises"),
    ),
    (
        r"moov atom not found",
        Cause(
            "no-index",
            "no index (moov atom): the recording was not finished, or the file is cut off",
            "copy it again; repair a recording that was not finished with a tool such as untrunc",
        ),
    ),
    (
        r"Protocol not found",
        Cause("protocol", "this FFmpeg does not support the protocol", "offer the stream as RTSP, such as by MediaMTX"),
    ),
    (
        r"Connection reset|Broken pipe|End of file|EOFError|(?:ends|ended) prematurely",
        Cause("closed", "the connection was closed before any video", "check that the server has a stream to give"),
    ),
    (r"Permission denied", Cause("permission", "permission denied", "check who may read it")),
    (r"No such file or directory", Cause("not-found", "not found", "check the path")),
    (r"Invalid data found", Cause("not-video", "no video that FFmpeg recognises")),
)
_CUT = Cause("cut", "it ends before any video", "copy it again: it is cut off or damaged")
# FFmpeg says nothing else of a redirection that it has followed eight times.
_NO_ANSWER = Cause(
    "redirected",
    "no answer with a video; the server may redirect in a circle",
    "open the address in a browser, and pass the one that shows the video",
)
_BY_STATUS = {
    401: ("unauthorized", f"check user and password (SCHEME://USER:PASSWORD@HOST/...); {_ENCODE}"),
    403: ("forbidden", "check that the account may see this stream, and that its address is not blocked"),
    404: ("not-found", "check the path after the host: the manual of the camera, or its ONVIF profile, names it"),
    429: ("too-many", "the server limits requests: wait, or raise its limit"),
    453: ("too-many", "the camera has no bandwidth left: close other clients"),
    454: ("client-error", "the camera ended the session: try again"),
    461: ("client-error", "the camera refuses this transport: append ?udp or ?tcp to the address"),
    503: ("server-error", "the server is busy or has no stream now: check its clients and its own log"),
}
_STATUS_OF_CLASS = {
    "HTTPBadRequestError": 400,
    "HTTPUnauthorizedError": 401,
    "HTTPForbiddenError": 403,
    "HTTPNotFoundError": 404,
    "HTTPTooManyRequestsError": 429,
}
_NAMES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests"}


def cause_of(
    error: BaseException, lines: Sequence[str], timeout_s: float | None, *, scheme: str | None = None
) -> Cause:
    """Return why a source cannot be opened.

    Args:
        error: FFmpeg's error.
        lines: FFmpeg's log while it tried, as ``[component] text``.
        timeout_s: time limit that passed meanwhile, seconds; None if it did not.
        scheme: scheme of its address, such as ``file``; None for a pipe.
    """
    name, said = type(error).__name__, getattr(error, "strerror", None) or str(error)
    text = "\n".join([*lines, f"{name}: {said}"])
    status = _status(name, text)
    if status is not None:
        return status
    host = _HOST.search(text)
    if host is not None:
        fix = "check the host name and this machine's DNS; an IP address needs none"
        return Cause("host-not-found", f"host {host[1]} not found ({host[2].strip()})", fix)
    if timeout_s is not None:
        fix = "check the address, that the port is reachable from this machine, and that a video is being sent"
        return Cause("timeout", f"no video within {timeout_s:g} s", fix)
    for pattern, cause in _CAUSES:
        if re.search(pattern, text):
            return _CUT if cause.key == "closed" and scheme in (None, "file") else cause
    if scheme in ("http", "https") and "Input/output error" in text:
        return _NO_ANSWER
    return Cause("other", said)


def no_decoder(lines: Sequence[str], codec: str | None) -> Cause:
    """Return the cause for a video stream that this FFmpeg cannot decode."""
    found = _UNKNOWN_CODEC.search("\n".join(lines))
    name = codec or (found[1].strip() if found is not None else "") or "unknown"
    return Cause(
        "no-decoder", f"no decoder for codec {name}", "convert it to H.264: ffmpeg -i INPUT -c:v libx264 OUT.mp4"
    )


def no_video(others: Sequence[str]) -> Cause:
    """Return the cause for a source without a video stream."""
    found = f"only {', '.join(others)}" if others else "no stream at all"
    return Cause("no-video", f"no video stream; {found}", "check that the source sends video")


def invalid_host(name: str) -> SourceError:
    """Return the error for an address without a valid host and port, mostly because of a character of a password."""
    return SourceError(
        f"{name}: cannot open",
        got="no valid host and port",
        expected="host or host:port, the port from 1 to 65535",
        fix="percent-encode a password: write / as %2F, # as %23, ? as %3F, @ as %40, : as %3A in a password",
    )


def text_instead(begin: bytes) -> Cause | None:
    """Return the cause for a file or response that begins as a web page or a DASH manifest; None for another."""
    text = begin.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return Cause(
            "html",
            "an HTML page, not a video",
            "pass the address of the stream itself, not of the page that shows it; "
            "a login page means missing credentials",
        )
    if text.startswith((b"<?xml", b"<mpd")) and b"<mpd" in text:
        return Cause(
            "dash",
            "a DASH manifest (MPD), which this FFmpeg cannot read",
            "pass the server's HLS (.m3u8) or RTSP address instead",
        )
    return None


def _status(name: str, text: str) -> Cause | None:
    found = _STATUS.search(text)
    number = int(found[1]) if found is not None else _STATUS_OF_CLASS.get(name)
    if number is None or not 300 <= number < 600:
        return None
    said = _NAMES.get(number) or (found[2].strip() if found is not None else "")
    kind = "server-error" if number >= 500 else "client-error"
    key, fix = _BY_STATUS.get(number, (kind, "check the address and the server's own log"))
    return Cause(key, f"the server answered {number} {said}".rstrip(), fix)
