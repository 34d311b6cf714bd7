"""Why a network source cannot be opened: the server's status, or what is wrong on the way, with the fix."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cameras import Camera, missing_rtsp_server
from clips import make_clip
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources import SourceOptions, open_source
from edgeproof_runtime.sources.causes import cause_of, text_instead
from senders import pages, talking

PATIENCE = SourceOptions(open_timeout_s=5, read_timeout_s=1)


@pytest.fixture(scope="module")
def page_server() -> Iterator[int]:
    with pages() as port:
        yield port


def refused(address: str, options: SourceOptions = PATIENCE) -> SourceError:
    with pytest.raises(SourceError, match="cannot open") as caught:
        open_source(address, options=options)
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize(
    ("status", "got", "fix"),
    [
        (401, "the server answered 401 Unauthorized", "user and password"),
        (403, "the server answered 403 Forbidden", "may see this stream"),
        (404, "the server answered 404 Not Found", "check the path"),
        (410, "the server answered 410 Gone", "address"),
        (429, "the server answered 429 Too Many Requests", "limit"),
        (500, "the server answered 500 Internal Server Error", "log"),
        (503, "the server answered 503 Service Unavailable", "busy"),
    ],
)
def test_the_status_of_an_http_server(page_server, status, got, fix, capfd):
    error = refused(f"http://user:secret@127.0.0.1:{page_server}/{status}")
    assert error.got == got
    assert fix in str(error.fix)
    assert capfd.readouterr().err == ""


def test_a_page_instead_of_a_video(page_server):
    assert refused(f"http://127.0.0.1:{page_server}/page").got == "an HTML page, not a video"


def test_a_server_that_does_not_speak_http():
    with talking(b"220 smtp ready\r\n") as address:
        refused(address)


@pytest.mark.parametrize("place", ["{host}/a b", "user:p[w@{host}/video"])
def test_an_address_that_no_other_client_takes(page_server, place):
    refused("http://" + place.format(host=f"127.0.0.1:{page_server}"))


@pytest.mark.parametrize("scheme", ["rtsp", "http", "tcp", "rtmp"])
def test_nobody_listens(scheme):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"{scheme}://127.0.0.1:{closed.getsockname()[1]}/live"
        assert refused(address).got == "connection refused"


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_host_that_does_not_exist(scheme):
    error = refused(f"{scheme}://user:secret@no.such.host.invalid/live")
    assert "host no.such.host.invalid not found" in str(error.got)
    assert "DNS" in str(error.fix)


@pytest.mark.parametrize("scheme", ["rtsp", "http", "tcp", "rtmp"])
def test_a_server_that_says_nothing_is_given_up_in_time(scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/a/b"
        assert refused(address, SourceOptions(open_timeout_s=0.4)).got == "no video within 0.4 s"
        assert time.monotonic() - begin < 3


@pytest.mark.parametrize("scheme", ["https", "rtsps"])
def test_a_port_that_does_not_speak_tls(page_server, scheme):
    assert refused(f"{scheme}://127.0.0.1:{page_server}/live").got == "TLS failed"


@pytest.mark.parametrize("password", ["pa/secret", "pa#secret", "pa?secret", "pa:secret/x"])
def test_a_password_that_must_be_encoded(password):
    error = refused(f"rtsp://admin:{password}@127.0.0.1:8554/live")
    assert "write / as %2F" in str(error.fix)


def test_a_protocol_that_this_ffmpeg_lacks():
    with pytest.raises(SourceError, match="unsupported scheme"):
        open_source("gopher://127.0.0.1/x")


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        (["[tcp] Connection to tcp://h:1 failed: No route to host"], "unreachable"),
        (["[tls] The certificate has expired"], "tls"),
        (["[rtsp] method DESCRIBE failed: 454 Session Not Found"], "client-error"),
        (["[rtsp] method SETUP failed: 461 Unsupported transport"], "client-error"),
        (["[srt] x", "Protocol not found"], "protocol"),
        ([], "other"),
    ],
)
def test_causes_by_what_ffmpeg_says(lines, key):
    assert cause_of(OSError("Something"), lines, None).key == key


@pytest.mark.parametrize(
    ("begin", "key"),
    [
        (b"\n <!DOCTYPE HTML PUBLIC>", "html"),
        (b"\xef\xbb\xbf<html>", "html"),
        (b"<MPD xmlns=...", "dash"),
        (b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">', "dash"),
        (b'<?xml version="1.0"?>\n<svg>', None),
        (b"", None),
    ],
)
def test_pages_and_manifests_are_told_by_their_beginning(begin: bytes, key: str | None) -> None:
    found = text_instead(begin)
    assert (None if found is None else found.key) == key


def test_a_dash_manifest_is_named(tmp_path: Path) -> None:
    manifest = tmp_path / "stream.mpd"
    manifest.write_text('<?xml version="1.0" encoding="utf-8"?>\n<MPD type="dynamic"></MPD>\n')
    with pytest.raises(SourceError, match="a DASH manifest"):
        open_source(str(manifest))


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camera]:
    missing = missing_rtsp_server()
    if missing is not None:
        pytest.skip(missing)
    clip = make_clip(tmp_path_factory.mktemp("clip"), "noisy.mp4")
    camera = Camera(Path(clip), "--h264", "--user", "admin:pa/secret")
    yield camera
    camera.kill()


def test_an_rtsp_camera_with_a_password(camera):
    host = f"127.0.0.1:{camera.port}"
    for user in ("", "admin:secret@", "secret:pa%2Fsecret@"):
        error = refused(f"rtsp://{user}{host}/camera")
        assert error.got == "the server answered 401 Unauthorized"
        assert "as %2F" in str(error.fix)
    assert refused(f"rtsp://admin:pa%2Fsecret@{host}/other").got == "the server answered 404 Not Found"
    # The scheme may be in capitals; ?udp is FFmpeg's own, and works without a lost packet here.
    for address in (f"RTSP://admin:pa%2Fsecret@{host}/camera", f"rtsp://admin:pa%2Fsecret@{host}/camera?udp"):
        with open_source(address, options=PATIENCE) as source:
            assert "secret" not in source.name
            frames = [frame for frame, _ in zip(source, range(10), strict=False)]
        assert [f.damage for f in frames] == [None] * 10
        times_ms = [(f.media_ns or 0) / 1e6 for f in frames]
        steps_ms = [b - a for a, b in itertools.pairwise(times_ms)]
        assert steps_ms[1:] == pytest.approx([40] * 8, abs=2), "after the first, whose time RTP does not tell yet"


def test_a_camera_that_offers_udp_only(tmp_path):
    missing = missing_rtsp_server()
    if missing is not None:
        pytest.skip(missing)
    camera = Camera(make_clip(tmp_path, "noisy.mp4"), "--h264", "--udp")
    try:
        with open_source(camera.url, options=PATIENCE) as source:
            assert next(iter(source)).image.shape == (216, 384, 3)
    finally:
        camera.kill()
