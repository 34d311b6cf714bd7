"""Switch off what libraries send to their makers."""

from __future__ import annotations

import os
import sys

from edgeproof_runtime.system.spec import SPEC

__all__ = ["switch_off_telemetry"]


def switch_off_telemetry() -> None:
    """Keep libraries from reporting to their makers, unless the user has set their variables otherwise.

    ONNX Runtime (from 1.29 on Linux), OpenVINO and NNCF decide at import: call this before they are imported. Child
    processes inherit the variables.
    """
    for name, value in SPEC["telemetry_off"]:
        os.environ.setdefault(name, value)
    if os.environ["DO_NOT_TRACK"] != "0":
        # It knows no variable, and writes an identifier when OpenVINO's converter or NNCF is imported. Without the
        # package both send nothing.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # documented: ImportError
