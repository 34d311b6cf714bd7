"""Write the file of settings of `edgeproof init`: a file of streams with a bundle and options above its tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgeproof.library.sources import specs_of
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_settings import MultilabelSettings
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.sources import StreamSpec
from edgeproof_runtime.sources.opening import is_path
from edgeproof_runtime.sources.paths import is_standard_input, path_of
from edgeproof_runtime.system.text import printable
from edgeproof_runtime.tasks.registry import head_of, task_of

__all__ = ["settings_text"]

_CAMERA, _TEST_CARD = Path("/dev/video0"), "synthetic://640x480@10"
_NAMED = 3  # labels in an example

_HEAD = """\
# Settings of edgeproof, written by `edgeproof init`.
#
#   edgeproof run {name}
#   edgeproof serve {name}
#   sudo edgeproof service install {name}
#
# Above the tables: the bundle, and options of run and serve by their names with _ for -. What is typed on the command
# line wins. An option that only serve has is left out by run. `edgeproof run --help` lists all of them.
# Paths are relative to the folder of this file.

bundle = {bundle}  # {about}

engine = "auto"     # the fastest on this machine; or onnxruntime, openvino, tensorrt, ...
precision = "auto"  # or fp32, fp16, int8
"""
_SINKS = """
# Where events go: FILE.csv, mqtt://host/topic, http://host/path. ${NAME} is read from the environment.
sink = ["events.csv"]
#home_assistant = true          # announce the streams through the MQTT sinks
#predictions = "frames.jsonl"   # one JSON line per frame
#save = "labelled.mp4"          # annotated video
#clips = "clips"                # a short video of each event
#snapshots = "snapshots"        # a JPEG of each event
#keep = ["7d", "20GB"]          # remove older recordings

# Of serve only; the token comes from the environment: EDGEPROOF_TOKEN.
#host = "0.0.0.0"
#port = 8080

# Streams: a table each. Its name stands in events, reports and topics.
"""
_STREAM = """
[{name}]
source = {source}
"""
_STREAM_OPTIONS = """\
#every_s = 5               # classify one frame each 5 s
#rate_limit_fps = 5        # most frames per second
#crop = "0,0,480,480"      # x, y, width, height
#rotate = 90               # degrees, clockwise
"""


def settings_text(bundle: Bundle, sources: Sequence[str], folder: Path, name: str = "edgeproof.toml") -> str:
    """Return a commented file of settings that is valid as it is.

    Args:
        bundle: its task decides which thresholds the file has.
        sources: sources of streams; none: the first camera of this machine, or a test card where there is none.
        folder: absolute folder of the file, to which its paths are relative.
        name: name of the file, for its comments.

    Raises:
        InputError: the bundle's task takes no frames, or a source cannot stand in such a file.
    """
    head_of(bundle)
    about = f"task {bundle.manifest.task}, {len(bundle.labels)} labels" if bundle.labels else bundle.manifest.task
    text = _HEAD.format(name=printable(name), bundle=_quoted(_from(folder, bundle.path)), about=about)
    text += _events(bundle) + _SINKS
    found = _CAMERA.exists()
    if not sources:
        text += (
            "" if found else "# No camera was found here: this is a test card. Write 0, or rtsp://user:${NAME}@host.\n"
        )
    for number, spec in enumerate(_specs(sources or ["0" if found else _TEST_CARD])):
        text += _STREAM.format(name=_quoted(spec.name), source=_quoted(_source(spec, folder)))
        text += "" if number else _STREAM_OPTIONS + _stream_thresholds(bundle)
    return text


def _specs(sources: Sequence[str]) -> tuple[StreamSpec, ...]:
    for source in sources:
        if source.lower().endswith(".toml") and is_path(source):
            raise InputError(
                f"{source}: is a file of streams already",
                fix='add bundle = "..." and options above its tables: edgeproof run takes it instead of a bundle',
            )
        if is_standard_input(source):
            raise InputError("--source: standard input cannot stand in a file", got=source, fix="leave it out")
    named = specs_of(sources)  # which knows their names, and has ${NAME} replaced
    return tuple(StreamSpec(name=spec.name, source=typed) for spec, typed in zip(named, sources, strict=True))


def _source(spec: StreamSpec, folder: Path) -> str:
    source = path_of(spec.source)
    return source if not is_path(source) or source.startswith("${") else _from(folder, Path(source))


def _from(folder: Path, path: Path) -> str:
    """Return a path relative to a folder that holds it, else absolute."""
    place = path.absolute()
    return str(place.relative_to(folder)) if place.is_relative_to(folder) else str(place)


def _events(bundle: Bundle) -> str:
    own = bundle.manifest.settings
    if own is None:
        label = f"{bundle.labels[0]}=0.9" if bundle.labels else "LABEL=0.9"
        lines = [
            "threshold = 0.5  # lowest averaged probability at which a class counts",
            f"#threshold_of = [{_quoted(label)}]  # of one class",
        ]
        if task_of(bundle).unknown_head is not None:
            lines.append('#unknown = "margin:0.2"  # below it a frame is unknown; evaluate --unknown measures a limit')
    else:
        lines = [f"# The bundle has its own thresholds: {printable(own.summary()[1])}."]
        if isinstance(own, MultilabelSettings):
            pairs = list(zip(bundle.labels, own.thresholds, strict=False))[:_NAMED]
            shown = ", ".join(_quoted(f"{label}={value:.3g}") for label, value in pairs)
            lines.append(f"#threshold_of = [{shown}]  # replaces those of single labels")
    return "\n".join((
        "",
        "# Events: what a stream shows over several frames.",
        *lines,
        "smooth = 0.0  # half-life of the average, frames",
        "stable = 5    # consecutive frames that start or end an event",
        "",
    ))  # fmt: skip


def _stream_thresholds(bundle: Bundle) -> str:
    if bundle.manifest.settings is not None or not bundle.labels:
        return ""
    return f"#threshold = 0.8           # of this stream\n#thresholds = {{ {_quoted(bundle.labels[0])} = 0.9 }}\n"


def _quoted(text: str) -> str:
    """Return a TOML string.

    Raises:
        InputError: the text is a file name that is not UTF-8, which TOML cannot hold.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError("name is not UTF-8", got=ascii(text), fix="rename the file") from error
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(f"\\u{ord(c):04X}" if printable(c) != c else c for c in quoted)
