"""Write a model repository whole or not at all, beside the models of other bundles that it holds."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.model_repository.config import ImageInput, ModelIo, ensemble, preprocessing
from edgeproof.model_repository.network import io_of, write_network
from edgeproof.model_repository.pbtxt import pbtxt
from edgeproof_export.bundle import exchange, locked_folder, sweep_beside, sync
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.bundle.replacing import lock
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import read_document
from edgeproof_runtime.system.opencv import cv2

__all__ = ["MARKER", "SCHEMA", "write_repository"]

MARKER = "edgeproof.json"
"""File of a repository that edgeproof wrote: its models, and what each was made of. Triton reads folders only."""

SCHEMA = "edgeproof.triton/1"

_VERSION = "1"


def write_repository(
    bundle: Bundle,
    repository: Path,
    name: str,
    *,
    image: ImageInput | None,
    precision: str,
    engines: Sequence[str],
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write a bundle's models into a repository.

    Args:
        bundle: the bundle.
        repository: folder; models that it holds already stay, and an older one of the same name is replaced.
        name: name of the model that clients ask for.
        image: what ``NAME_pre`` takes; None writes the network alone, as ``NAME``.
        precision: precision of the network.
        engines: engines of the network, the default first.

    Returns:
        The entry of the marker, and notes for the user.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise InputError(
            "--name: not a model name", got=name, expected="letters, digits, '_', '.' and '-', at most 100"
        )
    target = repository.resolve() if repository.is_symlink() else repository
    before = _models_of(target)
    mine = [name] if image is None else [name, f"{name}_pre", f"{name}_net"]
    stale = set(before.get(name, {}).get("folders", ()))
    taken = {folder for other, entry in before.items() if other != name for folder in entry["folders"]}
    for folder in mine:
        if folder in taken or (folder not in stale and (target / folder).exists()):
            raise InputError(f"{target / folder}: exists and is of another model", fix="choose another --name")
    facts = {
        "edgeproof.version": metadata.version("edgeproof"),
        "edgeproof.bundle": bundle.name,
        "edgeproof.manifest_sha256": bundle.manifest_sha256,
        "edgeproof.precision": precision,
    }
    entry = {"folders": mine, "image": image, "engines": list(engines), **facts}
    held: list[int | None] = []
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        held.append(_locked(target))
        sweep_beside(target)  # what a process left that was killed
        temporary, own = locked_folder(target, ".partial")
        held.append(own)
        if target.exists():
            _keep(target, temporary, stale)
        notes = _write_models(temporary, name, bundle, image, precision, engines, facts)
        document = {"schema": SCHEMA, "models": {**before, name: entry}}
        (temporary / MARKER).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        _make_readable(temporary)
        _put(temporary, target)
        sync(target.parent)
    except OSError as error:
        raise InputError(f"{repository}: cannot be written", got=error.strerror or error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        for descriptor in held:
            if descriptor is not None:
                os.close(descriptor)
    return entry, notes


def _models_of(target: Path) -> dict[str, Any]:
    """Return the models of a repository that edgeproof wrote; empty for a new one.

    Raises:
        InputError: it is something else.
    """
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return {}
    fix = "choose another --repository; Triton takes several: --model-repository A --model-repository B"
    if not (target / MARKER).is_file():
        raise InputError(f"{target}: exists and was not written by edgeproof", got=f"no {MARKER}", fix=fix)
    document = read_document(target / MARKER)
    models = document.get("models") if isinstance(document, dict) and document.get("schema") == SCHEMA else None
    if not isinstance(models, dict) or not all(isinstance(one, dict) and "folders" in one for one in models.values()):
        raise InputError(f"{target / MARKER}: not a list of models", expected=SCHEMA, fix=fix)
    return models


def _locked(target: Path) -> int | None:
    if not target.is_dir():
        return None
    try:
        return lock(target)
    except BlockingIOError:
        raise InputError(f"{target}: another process is writing into it", fix="run this again") from None


def _keep(target: Path, folder: Path, stale: set[str]) -> None:
    """Link what the repository holds into the new one, without the model that is replaced."""
    for path in target.iterdir():
        if path.name in stale or path.name == MARKER:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, folder / path.name, symlinks=True, copy_function=_link)
        else:
            shutil.copy2(path, folder / path.name, follow_symlinks=False)


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(source, destination, follow_symlinks=False)


def _write_models(
    folder: Path,
    name: str,
    bundle: Bundle,
    image: ImageInput | None,
    precision: str,
    engines: Sequence[str],
    facts: Mapping[str, str],
) -> tuple[str, ...]:
    io = io_of(bundle, precision, facts)
    if image is None:
        return write_network(folder / name, name, bundle, precision, io, engines)
    contract = bundle.contract
    frame = (contract.frame_dtype, contract.channels if contract.color == "channels" else 3)
    golden = next(bundle.golden(), None)
    _write_preprocessing(folder / f"{name}_pre", bundle, io, image, frame, golden)
    (folder / name / _VERSION).mkdir(parents=True)
    (folder / name / _VERSION / "README").write_text("An ensemble has no files, but Triton requires this folder.\n")
    (folder / name / "config.pbtxt").write_text(pbtxt(ensemble(name, io, image, frame)), encoding="utf-8")
    notes = write_network(folder / f"{name}_net", f"{name}_net", bundle, precision, io, engines)
    if io.labels is not None:
        shutil.copy2(folder / f"{name}_net" / io.labels[1], folder / name)
    return notes


def _write_preprocessing(
    folder: Path, bundle: Bundle, io: ModelIo, image: ImageInput, frame: tuple[str, int], golden: GoldenCase | None
) -> None:
    version = folder / _VERSION
    version.mkdir(parents=True)
    source = files("edgeproof.model_repository").joinpath("preprocessing_model.py").read_text(encoding="utf-8")
    (version / "model.py").write_text(source, encoding="utf-8")
    (version / "contract.json").write_text(json.dumps(bundle.contract.to_json(), indent=2), encoding="utf-8")
    shape: tuple[int, ...] | None = None
    if golden is not None:
        pixels = as_sent(golden.frame, frame[1])
        shape = pixels.shape
        encoded = bundle.read(bundle.manifest.golden[0].frame)
        sent = np.frombuffer(encoded, np.uint8) if image == "encoded" else pixels
        np.savez(version / "golden.npz", image=sent, tensor=golden.tensor)
        # A text is stored as its length in 4 bytes and itself, as in the binary tensor extension.
        one = len(encoded).to_bytes(4, "little") + encoded if image == "encoded" else pixels.tobytes()
        (folder / "warmup").mkdir()
        (folder / "warmup/golden").write_bytes(one * (io.max_batch if io.fixed else 1))
    text = pbtxt(preprocessing(folder.name, io, image, frame, shape))
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")


def as_sent(frame: Any, channels: int) -> Any:
    """Return a frame ``HxWxC`` of as many channels as the model announces: a gray one becomes BGR."""
    if frame.ndim == 3 and frame.shape[2] == channels:
        return frame
    return cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) if channels == 3 else frame.reshape(*frame.shape[:2], channels)


def _make_readable(folder: Path) -> None:
    """Let the user of a server read it: the temporary folder is private."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if path.is_symlink():
            continue
        sync(path)
    sync(folder)


def _put(folder: Path, target: Path) -> None:
    """Move the new repository in place of the old one, in one step where the file system can."""
    if not target.exists():
        folder.rename(target)
        return
    if exchange(folder, target):
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
    target.rename(aside / target.name)
    try:
        folder.rename(target)
    except OSError:
        with suppress(OSError):
            (aside / target.name).rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
