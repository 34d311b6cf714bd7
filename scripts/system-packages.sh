#!/usr/bin/env bash
# Installs the system packages that are missing, where apt-get is there and may be used; says what to do where not.
# Usage: scripts/system-packages.sh {python|build|test|app|fuzz|opencv|system-opencv}...
set -euo pipefail

python=${PYTHON:-python3}
package=$(basename "$python") # Debian calls them python3-venv, python3.12-venv, ...
need=()
perhaps=() # packages that not every distribution has
for purpose in "$@"; do
  case $purpose in
    python) # venv is a package of its own on Debian and Ubuntu
      "$python" -c 'import ensurepip, venv' 2>/dev/null || need+=("$package-venv") ;;
    build) # the native core; CMake and Ninja come from PyPI where the system has none
      command -v c++ >/dev/null || need+=(g++)
      "$python" -c 'import sysconfig, pathlib; pathlib.Path(sysconfig.get_path("include"), "Python.h").stat()' \
        2>/dev/null || need+=("$package-dev") ;;
    test)
      command -v cmake >/dev/null || need+=(cmake)
      command -v chromium >/dev/null || command -v google-chrome >/dev/null || need+=(chromium)
      # Real peers of the live tests: an RTSP server, an MQTT broker, an OCI registry, Prometheus' checker, a load, a clock that is set.
      [ -e /usr/lib/x86_64-linux-gnu/girepository-1.0/GstRtspServer-1.0.typelib ] ||
        [ -e /usr/lib/aarch64-linux-gnu/girepository-1.0/GstRtspServer-1.0.typelib ] ||
        need+=(gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{base,good,bad,ugly} gstreamer1.0-libav)
      command -v ffmpeg >/dev/null || need+=(ffmpeg) # makes the clips of tests/clips.py
      command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || need+=(mosquitto)
      command -v docker-registry >/dev/null || need+=(docker-registry)
      command -v promtool >/dev/null || need+=(prometheus)
      command -v stress-ng >/dev/null || need+=(stress-ng)
      command -v faketime >/dev/null || need+=(faketime)
      command -v strace >/dev/null || need+=(strace)
      command -v softhsm2-util >/dev/null || need+=(softhsm2) ;; # a PKCS#11 token for the tests
    app) # the device program
      [ -d /usr/include/opencv4 ] || need+=(libopencv-dev)
      # FFmpeg's libraries for videos and streams; libwebp for its animations
      command -v pkg-config >/dev/null || need+=(pkg-config)
      for library in libavformat libavcodec libavfilter libavutil libswscale; do
        pkg-config --exists "$library" 2>/dev/null || need+=("$library-dev")
      done
      pkg-config --exists libwebpdemux 2>/dev/null || need+=(libwebp-dev)
      [ -e /usr/include/turbojpeg.h ] || need+=(libturbojpeg0-dev)
      [ -e /usr/include/openssl/evp.h ] || need+=(libssl-dev) # verifies signed bundles
      find /usr/include -name tiffio.h 2>/dev/null | grep -q . || need+=(libtiff-dev) ;;
    fuzz) # libFuzzer comes with clang, in Debian 12 in a package beside it
      command -v clang++ >/dev/null || need+=(clang)
      compgen -G "/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a" >/dev/null || perhaps+=(libclang-rt-dev) ;;
    opencv) # what the opencv-python wheel links against
      ldconfig -p | grep -q libGL.so.1 || need+=(libgl1)
      ldconfig -p | grep -q libglib-2.0.so.0 || need+=(libglib2.0-0) ;;
    system-opencv) # the system's Python must see it; GStreamer's elements are packages of their own
      "$python" -c 'import cv2' 2>/dev/null || need+=(python3-opencv)
      for element in videotestsrc jpeg; do
        compgen -G "/usr/lib/*/gstreamer-1.0/libgst$element.so" >/dev/null || need+=(gstreamer1.0-plugins-{base,good})
      done ;;
    *) echo "unknown purpose: $purpose" >&2; exit 2 ;;
  esac
done
[ ${#need[@]} -eq 0 ] && [ ${#perhaps[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo)
  else
    echo "missing: ${need[*]} ${perhaps[*]}. Install them with: sudo apt-get install -y ${need[*]} ${perhaps[*]}" >&2
    exit 0
  fi
fi
command -v apt-get >/dev/null || { echo "missing: ${need[*]} ${perhaps[*]} (no apt-get here; install them by your own means)" >&2; exit 0; }
echo "installing ${need[*]} ${perhaps[*]}" >&2
"${as_root[@]}" apt-get update -qq
for one in "${perhaps[@]}"; do
  if apt-cache show "$one" >/dev/null 2>&1; then need+=("$one"); fi
done
[ ${#need[@]} -eq 0 ] && exit 0
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
