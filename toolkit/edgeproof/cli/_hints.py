"""What mends an error of usage: the command or option that does what was typed."""

from __future__ import annotations

import shlex
from typing import Any

__all__ = ["usage_fix"]

# Names of other tools and first guesses, and the command that does it.
_MEANT = {
    "edgeproof run BUNDLE --source SOURCE": ("camera", "classify", "detect", "infer", "inference", "predict", "stream"),
    "edgeproof evaluate BUNDLE --data DATA": ("accuracy", "eval", "score", "test", "val", "validate"),
    "edgeproof bench BUNDLE": ("benchmark", "latency", "perf", "profile", "speed", "time"),
    "edgeproof export MODEL --out NAME.edge": ("convert", "onnx", "pack", "package"),
    "edgeproof optimize BUNDLE --data DATA": ("calibrate", "fp16", "int8", "optimise", "quantise", "quantize"),
    "edgeproof compile BUNDLE --target tensorrt": ("build", "engine", "openvino", "tensorrt", "trt", "trtexec"),
    "edgeproof verify BUNDLE": ("check", "prove", "replay"),
    "edgeproof compare OLD.json NEW.json": ("diff",),
    "edgeproof inspect BUNDLE": ("cat", "info", "list", "ls", "show", "summary"),
    "edgeproof doctor": ("diagnose", "env", "devices", "status"),
    "edgeproof serve BUNDLE --source SOURCE": ("api", "dashboard", "server", "start", "web"),
    "edgeproof sample BUNDLE": ("generate",),
    "edgeproof train RECIPE --data DATA --out DIR": ("fit", "finetune"),
    "edgeproof --help": ("help", "commands"),
    "edgeproof --version": ("version",),
}
_MISSING = {
    "--source": "--source 0 (a camera), a file, a folder, rtsp://...",
    "--data": "--data FOLDER of class folders, cifar10, a file such as images.csv or arrays.npz",
    "--out": "--out NAME.edge, a folder that is not there yet",
}


def usage_fix(error: Any) -> str | None:
    """Return what to type instead, for an error of Typer; None if it is not known.

    Args:
        error: the error; its message, and its context's command, say what was typed.
    """
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if message.startswith("No such command ") and context is not None and context.parent is None:
        typed = message.removeprefix("No such command ").partition(".")[0].strip("'\"").lower()
        return next((meant for meant, names in _MEANT.items() if typed in names), None)
    if message.startswith("Missing option "):
        return _MISSING.get(message.removeprefix("Missing option ").strip("'."))
    if "unexpected extra argument" in message:
        extra = message.partition(" (")[2].removesuffix(")").split(" ")
        options = {name for param in context.command.params for name in param.opts} if context is not None else set()
        return next((_named(extra, name) for name in ("--source", "--data", "--out") if name in options), None)
    return None


def _named(extra: list[str], option: str) -> str:
    if len(extra) == 1:
        return f"{option} {shlex.quote(extra[0])}"
    pattern = f", or a pattern in quotes: {option} 'FOLDER/*.jpg'" if option == "--source" else ""
    return f"{option} FOLDER{pattern}"
