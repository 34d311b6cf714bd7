"""An RTSP camera for tests: streams an MPEG-4 or H.264 file from its beginning to each client, at its own pace.

Runs under the system's Python, which has GStreamer's bindings:
/usr/bin/python3 tests/rtsp_server.py CLIP.mp4 PORT [--h264] [--user NAME:PASSWORD] [--udp]
Says "ready" once it takes connections. Not a test itself; `cameras.py` starts it.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 - versions are chosen first


def main() -> None:
    clip, port, *options = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    parsed = "mpeg4videoparse config-interval=1 ! rtpmp4vpay"
    if "--h264" in options:
        parsed = "h264parse config-interval=-1 ! rtph264pay mtu=1000"
    factory.set_launch(f'( filesrc location="{clip}" ! qtdemux ! {parsed} name=pay0 pt=96 )')
    if "--udp" in options:
        factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)
    if "--user" in options:
        user, _, password = options[options.index("--user") + 1].partition(":")
        authentication = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        authentication.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(authentication)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/camera", factory)
    if server.attach(None) == 0:
        raise SystemExit(f"port {port} is taken")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
