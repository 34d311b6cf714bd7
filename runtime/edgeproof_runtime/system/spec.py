"""Constants that the Python and the C++ runtime share, from ``spec.json``: bounds, names, codes and keys.

CMake turns the same file into the header ``edgeproof/spec.h``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["SPEC"]

SPEC: dict[str, Any] = json.loads(Path(__file__).resolve().parents[1].joinpath("spec.json").read_text("utf-8"))
