"""Load PyTorch checkpoints without the classes and functions that their pickles name.

`torch.load(weights_only=True)` builds tensors, containers and plain values. Everything else (an ``argparse.Namespace``,
a path, hyperparameters of a configuration library) becomes a `StandIn`: its state is kept, none of its code is imported
or run. Files that name functions which exist to run code are refused before they are read.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from edgeproof_export.parsing.trial import require_harmless_weights
from edgeproof_export.weights.pickles import Pickle, TooMuchError, scan
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import Self

__all__ = ["StandIn", "class_of_module", "load_restricted", "read_restricted", "shown_class", "whole_module"]

# Modules whose functions run code or reach the system. Of builtins only plain types are harmless.
_CODE = frozenset(
    [
        "builtins",
        "code",
        "codeop",
        "ctypes",
        "importlib",
        "marshal",
        "multiprocessing",
        "nt",
        "os",
        "pickle",
        "platform",
        "posix",
        "pty",
        "runpy",
        "shutil",
        "signal",
        "socket",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "types",
        "urllib",
        "webbrowser",
    ]
)
_PLAIN = frozenset(
    [
        "bool",
        "bytes",
        "complex",
        "dict",
        "float",
        "frozenset",
        "int",
        "list",
        "object",
        "range",
        "set",
        "slice",
        "str",
        "tuple",
    ]
)
_MOST_CONTAINERS = 16  # classes of containers: the file is read once more for each
# What PyTorch itself builds.
_BUILT = re.compile(r"collections\.OrderedDict|torch\._\w+\..*|torch\.\w*(Storage|Size|Tensor|device)|torch\.[a-z]+\d+")
# What the restricted unpickler says of items put into a stand-in.
_REFUSED_CONTAINER = re.compile(
    rf"Can only (?P<kind>SETITEM|append|extend).* but got <class '{re.escape(__name__)}\.(?P<name>[^']+)'>"
)
_DOWNLOAD_AGAIN = "download it again, and check its size and checksum"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class StandIn:
    """Object whose class is not loaded.

    Attributes:
        path: class or function as named in the file.
        args: arguments of its construction.
        state: its state, such as the ``__dict__``.
    """

    path: ClassVar[str] = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **_kwargs: Any) -> Self:
        made = super().__new__(cls)
        made.args, made.state = args, None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Dictionary:
    """Constructor of a plain dictionary in place of a subclass."""

    def __new__(cls, *_args: Any) -> Any:
        return OrderedDict()


class _Items(list[Any]):
    """List in place of a deque or of a subclass of list."""

    def __init__(self, *_args: Any) -> None:
        super().__init__()


def load_restricted(path: Path) -> Any:
    """Load a checkpoint of `torch.save`, memory-mapped where its format allows; first in a child process.

    Raises:
        InputError: the file is damaged, or names functions that run code, or its parser crashes, hangs or exhausts the
            memory.
    """
    require_harmless_weights("checkpoint", path)
    return read_restricted(path)


def read_restricted(path: Path) -> Any:
    """Load a checkpoint as `load_restricted` does, in this process at once."""
    try:
        found = scan(path)
    except TooMuchError as error:
        raise InputError(
            f"{path}: a pickle beyond what checkpoints hold",
            got=error,
            expected="tensors and plain values",
            fix="load it where it was made and save only the tensors: torch.save(model.state_dict(), FILE)",
        ) from error
    except Exception as error:  # pickletools and zipfile raise many types for a damaged file
        raise InputError(
            f"{path}: damaged, its pickle cannot be read", got=_first_line(error), fix=_DOWNLOAD_AGAIN
        ) from error
    _forbid_code(path, found)
    containers: dict[str, type] = {}
    while True:
        standing = [(containers.get(name) or _stand_in(name), name) for name in found.names]
        try:
            return _load(path, standing)
        except Exception as error:  # torch raises many types, with advice to load without weights_only
            # A subclass of dict or list is told only by what is put into it.
            refused = _REFUSED_CONTAINER.search(str(error))
            if refused is None or refused["name"] in containers or len(containers) >= _MOST_CONTAINERS:
                raise _unreadable(path, found, error) from error
            kind = _Dictionary if refused["kind"] == "SETITEM" else _Items
            containers[refused["name"]] = type(refused["name"], (kind,), {})


def _load(path: Path, standing: list[tuple[type, str]]) -> Any:
    with warnings.catch_warnings(), torch.serialization.safe_globals(standing):  # type: ignore[arg-type]
        warnings.simplefilter("ignore")  # about the pickle's protocol and its source code
        if path.suffix == ".safetensors":  # torch.load goes by the name
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def class_of_module(content: Any) -> str | None:
    """Return the class of a whole pickled module, or of a fastai learner; None for anything else."""
    if not isinstance(content, StandIn):
        return None
    is_module = isinstance(content.state, dict) and "_modules" in content.state
    return content.path if is_module or content.path.startswith("fastai.learner.") else None


def whole_module(path: Path, name: str, where: Sequence[str] = ()) -> InputError:
    """Return the error for a file that pickles modules instead of their tensors.

    Args:
        path: the file.
        name: class of the first module.
        where: keys under which the file has modules.
    """
    what = f"{path}: a whole pickled module, not a state dict"
    fix = "where it was made, with its object as model: torch.save(model.state_dict(), 'weights.pth')"
    if name.startswith("fastai."):
        what = f"{path}: a fastai learner (learn.export), not a state dict"
        fix = "where it was made: torch.save(load_learner(FILE).model.state_dict(), 'weights.pth')"
    elif name.startswith("ultralytics."):
        what = f"{path}: an Ultralytics checkpoint, which pickles whole modules"
        fix = f"YOLO('{path.name}').export(format='onnx') where it was made, then edgeproof export the .onnx file"
    return InputError(
        what,
        got=f"class {shown_class(name)}" + (f" under {', '.join(map(repr, where))}" if any(where) else ""),
        expected="tensors by name; loading a pickled module would run its code",
        fix=fix,
    )


def shown_class(path: str) -> str:
    """Return a class as shown to users: without ``__main__``."""
    return path.removeprefix("__main__.")


def _stand_in(name: str) -> type:
    return type(name, (StandIn,), {"path": name})


def _forbid_code(path: Path, found: Pickle) -> None:
    def runs_code(name: str) -> bool:
        module, _, rest = name.partition(".")
        return module in _CODE and not (module == "builtins" and rest in _PLAIN)

    code = sorted(filter(runs_code, found.names))
    if code:
        libraries = ("fastai.learner.", "ultralytics.")
        module = next((name for name in found.names if name.startswith(libraries)), None)
        if module is None and found.top not in (None, *code) and _holds_layers(found):
            module = found.top
        if module is not None:
            raise whole_module(path, module)
        raise InputError(
            f"{path}: holds more than tensors, loading it would run code",
            got=", ".join(code[:4]),
            expected="tensors and plain values",
            fix="if you trust its origin, load it there and save only the tensors: "
            "torch.save(model.state_dict(), FILE)",
        )


def _unreadable(path: Path, found: Pickle, error: Exception) -> InputError:
    if any(name.startswith("torch.distributed.") for name in found.names):
        return InputError(
            f"{path}: holds shards of tensors (DTensor) of a distributed training",
            fix="gather them there: torch.distributed.checkpoint.state_dict.get_model_state_dict with "
            "StateDictOptions(full_state_dict=True)",
        )
    if not isinstance(error, pickle.UnpicklingError):
        return InputError(f"{path}: damaged, its tensors cannot be read", got=_first_line(error), fix=_DOWNLOAD_AGAIN)
    if found.top is not None and _holds_layers(found):
        return whole_module(path, found.top)
    foreign = [name for name in found.names if not _BUILT.fullmatch(name)]
    protocol = found.protocol > 2
    return InputError(
        f"{path}: holds objects that cannot be read without their code",
        got=f"pickle protocol {found.protocol}" if protocol else ", ".join(foreign[:4]) or "an unknown pickle",
        expected="tensors and plain values" + (", in torch.save's default protocol" if protocol else ""),
        fix="load it where it was made and save only the tensors: torch.save(model.state_dict(), FILE)",
    )


def _holds_layers(found: Pickle) -> bool:
    return any(name.startswith("torch.nn.modules.") for name in found.names)


def _first_line(error: Exception) -> str:
    text = _ANSI.sub("", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip() and "weights_only" not in line]
    return lines[0][:160] if lines else type(error).__name__
