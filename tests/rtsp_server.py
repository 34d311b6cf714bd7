"""An RTSP camera for tests: streams an MPEG-4 file from its beginning to each client, at its own pace.

Runs under the system's Python, which has GStreamer's bindings: /usr/bin/python3 tests/rtsp_server.py CLIP.mp4 PORT
Says "ready" once it takes connections. Not a test itself; `cameras.py` starts it.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions are chosen first


def main() -> None:
    clip, port = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f'( filesrc location="{clip}" ! qtdemux ! mpeg4videoparse config-interval=1 ! rtpmp4vpay name=pay0 pt=96 )'
    )
    server.get_mount_points().add_factory("/camera", factory)
    if server.attach(None) == 0:
        raise SystemExit(f"port {port} is taken")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
