"""Push a bundle into a registry, and pull one out of it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeproof.fleet.modelpack import Layer, config_of, layers_of, manifest_of, read_manifest
from edgeproof.fleet.reference import Reference
from edgeproof.fleet.registry import MANIFEST, Registry, RegistryError
from edgeproof.library.inputs import open_bundle
from edgeproof.library.progress import Progress, no_progress
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.boundary import bounded

__all__ = ["Pulled", "Pushed", "fetch", "pull", "push", "sync_folder"]

_SPARE_BYTES = 64 << 20  # left free: logs, state, other programs


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A bundle in a registry.

    Attributes:
        reference: its address, with the digest.
        digest: digest of its manifest.
        files: number of files.
        size_bytes: size of all files.
        sent_bytes: size of what the registry did not have.
    """

    reference: str
    digest: str
    files: int
    size_bytes: int
    sent_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, ``"schema": "edgeproof.push/1"``."""
        return {"schema": "edgeproof.push/1", **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """A bundle from a registry.

    Attributes:
        bundle: the opened bundle.
        reference: its address, with the digest.
        digest: digest of its manifest.
        files: number of files.
        size_bytes: size of all files.
        received_bytes: size of what was not there from an earlier try.
    """

    bundle: Bundle
    reference: str
    digest: str
    files: int
    size_bytes: int
    received_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, ``"schema": "edgeproof.pull/1"``."""
        named = ("reference", "digest", "files", "size_bytes", "received_bytes")
        facts = {name: getattr(self, name) for name in named}
        return {"schema": "edgeproof.pull/1", "bundle": str(self.bundle.path), **facts}


@bounded
def push(
    bundle: str | Path | Bundle,
    reference: str,
    *,
    plain_http: bool = False,
    progress: Progress | None = None,
) -> Pushed:
    """Push a bundle into a registry.

    Files that the registry has are not sent again. Equal bundles have an equal digest.

    Args:
        bundle: path of a bundle, or an opened one.
        reference: ``oci://host[:port]/name[:tag]``; without a tag, ``latest``.
        plain_http: use HTTP without TLS; a registry on this machine always does.
        progress: called with (phase, done, total).

    Raises:
        BundleError: the bundle is damaged.
        InputError: the address is invalid, or the registry cannot be reached or refuses.
    """
    tell = progress or no_progress
    opened = open_bundle(bundle, again=True)
    opened.check()
    place = Reference.parse(reference)
    if place.digest is not None:
        raise InputError("reference: a digest cannot be chosen", got=str(place), expected="a tag")
    registry = Registry(place, plain_http=plain_http)
    layers = layers_of(opened.path)
    config = config_of(opened, layers)
    config_digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    manifest = manifest_of(opened, config_digest, len(config), layers)
    size = sum(layer.size for layer in layers)
    wanted = {layer.digest: layer for layer in layers}
    sent = done = 0
    for layer in wanted.values():
        tell("pushing", done, size)
        if not registry.has_blob(layer.digest):
            with (opened.path / layer.path).open("rb") as file:
                registry.upload(layer.digest, layer.size, lambda start, most, of=file: _part(of, start, most))  # type: ignore[misc]
            sent += layer.size
        done += layer.size
    tell("pushing", size, size)
    if not registry.has_blob(config_digest):
        registry.upload(config_digest, len(config), lambda start, most: config[start : start + most])
    digest = registry.put_manifest(place.version, manifest, MANIFEST)
    return Pushed(
        reference=str(place.at(digest)), digest=digest, files=len(layers), size_bytes=size, sent_bytes=sent
    )  # fmt: skip


@bounded
def pull(
    reference: str,
    out: str | Path,
    *,
    plain_http: bool = False,
    progress: Progress | None = None,
) -> Pulled:
    """Pull a bundle out of a registry into a new folder.

    The folder appears whole or not at all. An interrupted pull goes on where it stopped.

    Args:
        reference: ``oci://host[:port]/name[:tag][@sha256:...]``; a digest is compared with what arrives.
        out: folder of the bundle, ``NAME.edge``. It may exist if it holds the same bundle.
        plain_http: use HTTP without TLS; a registry on this machine always does.
        progress: called with (phase, done, total).

    Raises:
        BundleError: what the registry has is not a bundle, or damaged.
        InputError: the address is invalid, ``out`` exists, the disk is full, or the registry cannot be reached, refuses
            or sends something else.
    """
    place, out = Reference.parse(reference), Path(out)
    registry = Registry(place, plain_http=plain_http)
    content, digest = registry.manifest(place.version)
    return fetch(registry, place.at(digest), content, out, progress=progress)


def fetch(
    registry: Registry, place: Reference, content: bytes, out: Path, *, progress: Progress | None = None
) -> Pulled:
    """Pull the bundle of a manifest; see `pull`.

    Args:
        registry: the registry.
        place: address with the manifest's digest.
        content: the manifest.
        out: folder of the bundle.
        progress: called with (phase, done, total).
    """
    tell = progress or no_progress
    if place.digest is None:
        raise TypeError("a digest was asked for")
    layers = read_manifest(content, place)
    size = sum(layer.size for layer in layers)
    received = 0
    if not os.path.lexists(out):
        partial = out.parent / f".{out.name}.{place.digest[7:19]}.pull"
        received = _fill(registry, layers, partial, tell)
        _sync(partial)
        Bundle.open(partial).check()
        partial.rename(out)
        sync_folder(out.parent)
    elif not _holds(out, layers):
        raise InputError(f"{out}: exists", got="something else than this bundle", fix="choose another folder")
    bundle = Bundle.open(out)
    bundle.check()
    return Pulled(
        bundle=bundle, reference=str(place), digest=place.digest, files=len(layers), size_bytes=size,
        received_bytes=received,
    )  # fmt: skip


def sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fill(registry: Registry, layers: Sequence[Layer], partial: Path, tell: Progress) -> int:
    """Download the files into a folder that an earlier try may have begun; return the number of received bytes."""
    partial.mkdir(parents=True, exist_ok=True)
    total = sum(layer.size for layer in layers)
    have = sum(min(layer.size, _size(partial / layer.path)) for layer in layers)
    _require_space(partial, total - have)
    begun, received = have, 0

    def advance(count: int) -> None:
        nonlocal received
        received += count
        tell("pulling", min(begun + received, total - 1), total)

    first: dict[str, Path] = {}
    try:
        for layer in layers:
            path = partial / layer.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if layer.digest in first:  # in a file that ends with these bytes nothing is resumed: it is copied whole
                shutil.copyfile(first[layer.digest], path)
                continue
            registry.download(layer.digest, layer.size, path, advance)
            first[layer.digest] = path
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RegistryError(f"{partial.parent}: disk full", got=error.strerror, fix="free some space") from error
        raise
    tell("pulling", total, total)
    wanted = {layer.path for layer in layers}
    for path in [path for path in partial.rglob("*") if path.is_file()]:
        if path.relative_to(partial).as_posix() not in wanted:
            path.unlink()
    return received


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE_BYTES:
        raise RegistryError(
            f"{folder.parent}: disk full", got=f"{free >> 20} MiB free",
            expected=f"{(size + _SPARE_BYTES) >> 20} MiB for the rest of the bundle, and a reserve",
            fix="free some space",
        )  # fmt: skip


def _sync(folder: Path) -> None:
    """Write all files and folders below a folder to the disk, so that a rename of it names whole files."""
    for place, _, files in os.walk(folder):
        for name in files:
            sync_folder(Path(place, name))
        sync_folder(Path(place))


def _holds(folder: Path, layers: Sequence[Layer]) -> bool:
    """Return whether a folder holds the files; it may hold others, which were added on this machine."""
    found = {layer.path: layer.digest for layer in layers_of(folder)} if folder.is_dir() else {}
    return all(found.get(layer.path) == layer.digest for layer in layers)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _part(file: Any, start: int, most: int) -> bytes:
    file.seek(start)
    content: bytes = file.read(most)
    if len(content) != most:
        raise InputError(f"{file.name}: changed while it was pushed", fix="push it again")
    return content
