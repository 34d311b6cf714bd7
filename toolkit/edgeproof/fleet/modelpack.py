"""A bundle as an OCI artifact in the layout of CNCF ModelPack: a layer per file, unpacked and uncompressed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgeproof.fleet.reference import DIGEST
from edgeproof.fleet.registry import MANIFEST
from edgeproof_runtime.bundle.manifest import is_plain
from edgeproof_runtime.bundle.reader import Bundle, sha256_of
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.system.documents import parse_document
from edgeproof_runtime.system.spec import SPEC

__all__ = ["ARTIFACT", "CONFIG", "Layer", "config_of", "layers_of", "manifest_of", "read_manifest"]

ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"

_PATH = "org.cncf.model.filepath"
_TITLE = "org.opencontainers.image.title"  # the name that `oras pull` gives the file
_PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
_KINDS = {"golden": "dataset", "evidence": "doc", "signatures": "doc"}
_MOST_FILES = 16384
_MOST_BYTES: int = SPEC["bounds"]["compiled_bytes"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One file of a bundle.

    Attributes:
        path: path in the bundle, with slashes.
        digest: ``sha256:…`` of its content.
        size: bytes.
        media_type: by ModelPack, from the file's purpose.
    """

    path: str
    digest: str
    size: int
    media_type: str

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor."""
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
            "annotations": {_PATH: self.path, _TITLE: self.path},
        }


def layers_of(folder: Path) -> list[Layer]:
    """Return a layer for each file of a bundle, sorted by path. Names that begin with a dot are left out.

    Raises:
        InputError: a link or a special file is in the folder, or too many files are.
    """
    found = []
    for place, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [*folders, *files]:
            path = Path(place, name)
            if name.startswith("."):
                continue
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise InputError(f"{path}: not a regular file", expected="a bundle of regular files")
        for name in files:
            if not name.startswith("."):
                path = Path(place, name)
                relative = path.relative_to(folder).as_posix()
                size = path.stat().st_size
                found.append(Layer(relative, f"sha256:{sha256_of(path)}", size, _media_type(relative)))
    if len(found) > _MOST_FILES:
        raise InputError(f"{folder}: too many files", got=len(found), expected=f"at most {_MOST_FILES}")
    return sorted(found, key=lambda layer: layer.path)


def config_of(bundle: Bundle, layers: Sequence[Layer]) -> bytes:
    """Return ModelPack's configuration of a bundle."""
    provenance = bundle.manifest.provenance
    architecture = provenance.get("architecture")
    technical = {
        "format": "onnx",
        "precision": ",".join(_PRECISIONS[name] for name in bundle.precisions),
        "capabilities": {"inputTypes": ["image"] if bundle.manifest.contract is not None else ["other"]},
    }
    if isinstance(architecture, str):
        technical["architecture"] = architecture
    return _bytes(
        {
            "descriptor": {"name": bundle.name, "description": f"edgeproof bundle, task {bundle.manifest.task}"},
            "config": technical,
            "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
        }
    )


def manifest_of(bundle: Bundle, config_digest: str, config_size: int, layers: Sequence[Layer]) -> bytes:
    """Return the manifest. Equal files make an equal manifest, hence an equal digest."""
    return _bytes(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": {"mediaType": CONFIG, "digest": config_digest, "size": config_size},
            "layers": [layer.to_json() for layer in layers],
            "annotations": {_TITLE: bundle.name, "edgeproof.bundle.sha256": bundle.manifest_sha256},
        }
    )


def read_manifest(content: bytes, name: object) -> list[Layer]:
    """Return the files that a manifest names.

    Raises:
        BundleError: not a bundle's manifest, or one whose paths lead outside, collide, or are too many or too large.
    """
    raw = parse_document(content, name, error=BundleError)
    if not isinstance(raw, dict) or raw.get("artifactType") != ARTIFACT:
        got = raw.get("artifactType") or raw.get("mediaType") if isinstance(raw, dict) else type(raw).__name__
        raise BundleError(f"{name}: not a bundle", got=got, expected=f"artifactType {ARTIFACT}")
    try:
        layers = [
            Layer(one["annotations"][_PATH], one["digest"], one["size"], one["mediaType"]) for one in raw["layers"]
        ]
    except (KeyError, TypeError) as error:
        raise BundleError(f"{name}: damaged manifest", got=f"{type(error).__name__}: {error}") from error
    _check(layers, name)
    return layers


def _check(layers: Sequence[Layer], name: object) -> None:
    seen: set[str] = set()
    for layer in layers:
        whole = isinstance(layer.path, str) and isinstance(layer.digest, str) and DIGEST.fullmatch(layer.digest)
        if not whole or not isinstance(layer.size, int) or isinstance(layer.size, bool) or layer.size < 0:
            raise BundleError(f"{name}: damaged descriptor", got=repr(layer.path))
        if not is_plain(layer.path) or any(part.startswith(".") for part in PurePosixPath(layer.path).parts):
            raise BundleError(f"{name}: path leads outside the bundle, or is hidden", got=repr(layer.path))
        if layer.path in seen:
            raise BundleError(f"{name}: two files of one name", got=layer.path)
        seen.add(layer.path)
    for path in seen:
        if any(str(parent) in seen for parent in PurePosixPath(path).parents):
            raise BundleError(f"{name}: a file inside a file", got=path)
    total = sum(layer.size for layer in layers)
    if "bundle.json" not in seen:
        raise BundleError(f"{name}: not a bundle", got="no bundle.json among its files")
    if len(layers) > _MOST_FILES or total > _MOST_BYTES:
        raise BundleError(
            f"{name}: too large", got=f"{len(layers)} files, {total} bytes",
            expected=f"at most {_MOST_FILES} files, {_MOST_BYTES} bytes",
        )  # fmt: skip


def _media_type(path: str) -> str:
    first = PurePosixPath(path).parts[0]
    weights = path.endswith(".onnx") or first == "engines" or (first == "attachments" and not path.endswith(".json"))
    kind = "weight" if weights else _KINDS.get(first, "weight.config")
    return f"application/vnd.cncf.model.{kind}.v1.raw"


def _bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
