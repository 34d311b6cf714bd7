"""Read a bundle; every file is checked before it is used."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor, TensorSpec
from edgeproof_runtime.bundle.attachments import LeftOut
from edgeproof_runtime.bundle.content import check_listed, check_present, read_listed, sha256_of
from edgeproof_runtime.bundle.contents import Contents
from edgeproof_runtime.bundle.manifest import (
    EngineEntry,
    FileEntry,
    GoldenEntry,
    Int8Shape,
    Manifest,
    PartKind,
    Precision,
)
from edgeproof_runtime.bundle.replacing import find_bundle
from edgeproof_runtime.bundle.signatures import VARIABLE, Signed, require_signed
from edgeproof_runtime.bundle.task_settings import LatentInput
from edgeproof_runtime.bundle.trust import trust_signed
from edgeproof_runtime.contract.contract import BatchBounds, InputContract
from edgeproof_runtime.errors import BundleError, InputError, NotInBundleError
from edgeproof_runtime.system.arrays import parse_array
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.bounds import bound, require_texts
from edgeproof_runtime.system.documents import MAX_BYTES, parse_document
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.system.regular import is_file, is_folder, read_regular
from edgeproof_runtime.system.steps import step

__all__ = ["Bundle", "GoldenCase", "sha256_of"]

_TRIES = 20


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """A loaded golden case.

    Attributes:
        name: file name of its frame.
        frame: uint8 ``HxWx3`` BGR, or ``HxW`` gray; ``HxWxC`` of the contract's ``frame_dtype`` for color
            ``channels``; for a generator, the image that it must generate.
        tensor: input tensor that the frame must become, or the latent vector; without the batch dimension.
        outputs: PyTorch's outputs, without the batch dimension.
        top1: class index of PyTorch's top-1 prediction, for ``classify``.
        label: label of ``top1`` at the export.
        seed: seed of the latent vector, for ``generate``.
    """

    name: str
    frame: NDArray[Any]
    tensor: Tensor
    outputs: tuple[Tensor, ...]
    top1: int | None
    label: str | None
    seed: int | None = None


class Bundle:
    """A bundle on disk, opened with `open`.

    Attributes:
        path: its folder.
        manifest: its ``bundle.json``.
        signed: the signature that `open` required; None if it required none.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        contents: Contents | None = None,
        manifest_sha256: str | None = None,
        signed: Signed | None = None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self._contents = Contents.of(manifest) if contents is None else contents
        self._manifest_sha256 = manifest_sha256
        self.signed = signed
        self._trust_signed_engines()

    @classmethod
    @bounded
    def open(cls, path: str | Path, *, trust: str | Path | Literal[False] | None = None) -> Bundle:
        """Open a bundle and check presence, size and sha256 of every listed file but the exported model.

        The model's sha256 is checked when an engine reads it, and by `check`.

        Attachments that are damaged, missing or of another ``bundle.json`` are left out; see `left_out`. A bundle that
        an export replaces meanwhile is read again.

        With ``trust`` the bundle must be signed, and parts that the signature does not cover are left out, except
        engines that this machine compiled. The signature is checked before anything else of the bundle is read.

        Args:
            path: the bundle's folder.
            trust: a PEM public key, PEM certificates of authorities, or a policy (NAME.toml); see `require_signed`.
                None: what ``$EDGEPROOF_TRUST`` names, if it is set. False: no signature is required.

        Raises:
            BundleError: not a bundle, damaged, modified, or of another schema; not signed by a trusted signer, or
                changed since.
            InputError: ``trust`` cannot be read.
            UnavailableError: the package that verifies signatures is not installed.
        """
        folder = Path(path)
        wanted = (os.environ.get(VARIABLE) or None) if trust is None else trust
        for _ in range(_TRIES):
            found, raw = find_bundle(folder), None
            try:
                with step(f"open bundle {path}"):
                    raw = _read_manifest(found)
                    signed = require_signed(found, Path(wanted)) if wanted else None
                    return cls._opened(found, raw, signed)
            except BundleError:
                if _is_unchanged(folder, raw):
                    raise
        raise BundleError(f"{path}: is being replaced again and again", fix="try again when the exports have ended")

    @classmethod
    def _opened(cls, folder: Path, raw: bytes, signed: Signed | None) -> Bundle:
        path = folder / "bundle.json"
        digest = hashlib.sha256(raw).hexdigest()
        if signed is not None:
            signed.require(path.name, digest)
        document = parse_document(raw, path, error=BundleError, fix="export the bundle again")
        manifest = Manifest.from_json(document)
        if signed is not None:
            for name, entry in manifest.base_files.items():
                signed.require(name, entry.sha256)
        _check_base(folder, manifest)
        return cls(folder, manifest, Contents.read(folder, manifest, digest, signed), digest, signed)

    def facts(self) -> dict[str, str]:
        """Return what the bundle is, in words: name, task, input, classes, precisions, engines and evidence."""
        classes = self.manifest.outputs[0].shape[0] if self.labels else 0
        found = {
            "bundle": f"{self.name}, {self.path}",
            "task": self.manifest.task + (f", {classes} classes" if classes else ""),
            "input": self.input_summary,
            "precisions": ", ".join(self.precisions),
            "compiled": ", ".join(f"{engine.target} {engine.precision}" for engine in self.engines()),
            "golden": f"{len(self.manifest.golden)} cases",
            "signature": "" if self.signed is None else self.signed.note,
            "evidence": ", ".join(name.removeprefix("evidence/").removesuffix(".json") for name in self.evidence),
            "left out": "; ".join(part.note for part in self.left_out),
        }
        return {key: text for key, text in found.items() if text}

    def __repr__(self) -> str:
        facts = self.facts()
        return f"Bundle({self.name}: {facts['task']}; {facts['input']}; {facts['precisions']})"

    def _repr_html_(self) -> str:
        row = '<tr><th style="text-align:left">{}</th><td style="text-align:left">{}</td></tr>'
        return f"<table>{''.join(row.format(key, escape(text)) for key, text in self.facts().items())}</table>"

    def check(self) -> None:
        """Check the sha256 of the exported model, which `open` leaves to the engine that reads it.

        Raises:
            BundleError: the model was modified.
        """
        name = self.manifest.models[self.manifest.base_precision]
        check_listed(self.path, name, self.manifest.files[name])

    def reread(self) -> None:
        """Read the attachments again: others may have been added, or superseded, since the bundle was opened."""
        self._contents = Contents.read(self.path, self.manifest, self.manifest_sha256, self.signed)
        self._trust_signed_engines()

    def _trust_signed_engines(self) -> None:
        """Let engines that the signature covers be deserialised: a signer vouches for them."""
        if self.signed is not None:
            compiled = [(self._contents.place(one.path), self.sha256(one.path)) for one in self.engines()]
            trust_signed(sha256 for place, sha256 in compiled if self.signed.covers(place, sha256))

    @property
    def manifest_sha256(self) -> str:
        """Hash of ``bundle.json``, which identifies what was exported; attachments have their own."""
        if self._manifest_sha256 is None:
            self._manifest_sha256 = sha256_of(self.path / "bundle.json")
        return self._manifest_sha256

    @property
    def models(self) -> Mapping[str, str]:
        """ONNX file of each key of `edgeproof_runtime.bundle.manifest.MODEL_FILES` that the bundle has."""
        return self._contents.models

    @property
    def evidence(self) -> tuple[str, ...]:
        """Names of the reports that the bundle keeps, such as ``evidence/bench.json``."""
        return self._contents.evidence

    @property
    def files(self) -> Mapping[str, FileEntry]:
        """Hash and size of every file, by name."""
        return self._contents.files

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Parts that are listed and not usable: damaged, missing or of another ``bundle.json``."""
        return self._contents.left_out

    def why_left_out(self, kind: PartKind, name: str | None = None) -> str | None:
        """Return why a part was left out; None if it is not listed at all.

        Args:
            kind: kind of the part.
            name: its name; None for any of the kind.
        """
        return self._contents.missing(kind, name)

    def locate(self, name: str) -> Path:
        """Return where a file lies; `read` returns its checked content.

        Raises:
            BundleError: no such file is listed.
        """
        self._entry(name)
        return self.path / self._contents.place(name)

    def read(self, name: str) -> bytes:
        """Return the content of a file, opened once, and checked.

        The file of an attachment that was superseded since the bundle was opened is read in its new version.

        Raises:
            BundleError: the file is not listed, missing or modified.
        """
        try:
            return read_listed(self.path, self._contents.place(name), self._entry(name))
        except BundleError:
            if name not in self._contents.places:
                raise
        self.reread()
        return read_listed(self.path, self._contents.place(name), self._entry(name))

    def _entry(self, name: str) -> FileEntry:
        if name not in self.files:
            raise BundleError(
                f"{self.path}: no {name}", got="not listed, or removed since the bundle was opened", fix="open it again"
            )
        return self.files[name]

    def read_evidence(self, kind: str) -> dict[str, Any] | None:
        """Return the report of a kind that the bundle keeps; None without one.

        Raises:
            BundleError: the report cannot be read.
        """
        name = f"evidence/{kind}.json"
        if name not in self.evidence:
            return None
        found = parse_document(self.read(name), self.locate(name), error=BundleError)
        if not isinstance(found, dict):
            raise BundleError(f"{name}: not a report", expected="an object")
        return found

    @property
    def name(self) -> str:
        """The bundle's name, without ``.edge``."""
        return self.manifest.name

    @property
    def contract(self) -> InputContract:
        """The input contract.

        Raises:
            InputError: the model takes no frames.
        """
        if self.manifest.contract is None:
            raise InputError(
                f"{self.path}: takes no frames",
                got=f"task {self.manifest.task}",
                expected="a bundle that takes frames",
                fix=f"edgeproof sample {self.path} --grid grid.png",
            )
        return self.manifest.contract

    @property
    def latent(self) -> LatentInput:
        """The generator's input.

        Raises:
            InputError: the task is not ``generate``.
        """
        if self.manifest.latent is None:
            raise InputError(
                f"{self.path}: generates no images",
                got=f"task {self.manifest.task}",
                expected="a bundle of task generate",
            )
        return self.manifest.latent

    @property
    def input_spec(self) -> TensorSpec:
        """The model's input tensor, for every task."""
        name = self.manifest.input_name
        if self.manifest.latent is not None:
            return TensorSpec(name, (self.manifest.latent.size,))
        return TensorSpec(name, self.contract.tensor_shape()[1:], self.contract.dtype)

    @property
    def batch(self) -> BatchBounds:
        """Smallest, typical and largest batch, for every task."""
        return self.contract.batch if self.manifest.latent is None else self.manifest.latent.batch

    @property
    def input_summary(self) -> str:
        """The input in one line for people."""
        return self.contract.summary() if self.manifest.latent is None else self.manifest.latent.summary()

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Label of each class index; empty without labels."""
        return self._lines(self.manifest.labels)

    @cached_property
    def class_ids(self) -> tuple[str, ...]:
        """Folder name of each class index in datasets (WordNet ids for ImageNet); may be empty."""
        return self._lines(self.manifest.class_ids)

    def _lines(self, name: str | None) -> tuple[str, ...]:
        if name is None:
            return ()
        lines = _lines_of(self.read(name), name)
        classes = self.manifest.outputs[0].shape[0]
        if len(lines) != classes:
            raise BundleError(f"{name}: does not match the model", got=f"{len(lines)} lines", expected=f"{classes}")
        return lines

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions of the bundle's ONNX models, fp32 first."""
        return tuple(name for name in self.models if name in get_args(Precision))

    def model_for(self, precision: str, int8_shape: Int8Shape = "cpu") -> str | None:
        """Return the ONNX file of a precision; None if the bundle has none.

        Args:
            precision: ``fp32``, ``fp16`` or ``int8``.
            int8_shape: int8 graph of the engine that will load or compile it; ``cpu``'s if the bundle lacks it.
        """
        shaped = None if int8_shape == "cpu" else self.models.get(f"{precision}-{int8_shape}")
        return shaped or self.models.get(precision)

    def artifact(
        self, precision: str | None = None, *, int8_shape: Int8Shape = "cpu", max_batch: int | None = None
    ) -> ModelArtifact:
        """Return what an engine loads for a precision.

        Args:
            precision: one of `precisions`; None for the exported model's.
            int8_shape: int8 graph that the engine takes; see `model_for`.
            max_batch: largest batch that the engine must accept; None for the contract's upper bound.

        Raises:
            NotInBundleError: the bundle has no model of this precision.
            InputError: the precision is unknown, or ``max_batch`` is outside the contract's bounds.
        """
        manifest = self.manifest
        precision = precision or manifest.base_precision
        if precision not in get_args(Precision):
            raise InputError("unknown precision", got=precision, expected=", ".join(get_args(Precision)))
        name = self.model_for(precision, int8_shape)
        if name is None:
            reason = self.why_left_out("precision", precision)
            raise NotInBundleError(
                f"{self.path}: no {precision} model" if reason is None else f"{self.path}: {precision} was left out",
                got=", ".join(self.models) if reason is None else reason,
                fix=f"edgeproof optimize {self.path} --data DATA --precision {precision}"
                if manifest.base_precision == "fp32"
                else f"--precision {manifest.base_precision}: the model was exported quantised",
            )
        bounds = self.batch
        if max_batch is not None and not bounds.min <= max_batch <= bounds.max:
            raise InputError(
                "max_batch: outside the contract's bounds", got=max_batch, expected=f"{bounds.min}..{bounds.max}"
            )
        return ModelArtifact(
            path=self.locate(name),
            precision=precision,
            input=self.input_spec,
            outputs=tuple(TensorSpec(output.name, output.shape) for output in manifest.outputs),
            max_batch=max_batch or bounds.max,
            arithmetic=manifest.arithmetic if precision == "fp32" else None,
            digests={self.locate(file): entry.sha256 for file, entry in self.files.items()},
        )

    def engines(self, target: str | None = None) -> tuple[EngineEntry, ...]:
        """List the compiled engines, optionally of one target."""
        return tuple(e for e in self._contents.engines if target is None or e.target == target)

    def sha256(self, name: str) -> str:
        """Return the sha256 of a listed file, checked when the bundle was opened."""
        return self._entry(name).sha256

    def to_json(self) -> dict[str, Any]:
        """Return the manifest with what is attached, where it lies, and what was left out."""
        places = {name: self._contents.place(name) for name in self.files}
        return {
            **self.manifest.to_json(),
            "models": dict(self.models),
            "engines": [asdict(entry) for entry in self.engines()],
            "evidence": list(self.evidence),
            "files": {name: {**asdict(entry), "path": places[name]} for name, entry in self.files.items()},
            "left_out": [part.note for part in self.left_out],
        }

    def golden(self) -> Iterator[GoldenCase]:
        """Load the golden cases one at a time."""
        for entry in self.manifest.golden:
            yield self._golden_case(entry)

    def _golden_case(self, entry: GoldenEntry) -> GoldenCase:
        frame = self._golden_frame(entry.frame)
        tensor = self._array(entry.tensor)
        outputs = tuple(map(self._array, entry.outputs))
        return GoldenCase(entry.frame, frame, tensor, outputs, entry.top1, entry.label, entry.seed)

    def _golden_frame(self, name: str) -> NDArray[Any]:
        if name.endswith(".npy"):
            return self._array(name)
        content = self.read(name)
        _check_png(content, name)
        frame: NDArray[Any] | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if frame is None or frame.dtype != np.uint8:
            raise BundleError(f"{name}: not an 8-bit image", fix="export the bundle again")
        return frame

    def _array(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = parse_array(self.read(name), name, BundleError).copy()
        return values


def _check_base(folder: Path, manifest: Manifest) -> None:
    """Check the files that the bundle does not work without; the model's content is checked when it is read."""
    model = manifest.models[manifest.base_precision]
    total = sum(entry.size_bytes for name, entry in manifest.base_files.items() if name != model)
    if total > bound("bundle_bytes"):
        raise BundleError(
            f"{folder}: golden cases too large", got=f"{total} bytes", expected=f"at most {bound('bundle_bytes')}"
        )
    for name, entry in manifest.base_files.items():
        check = check_present if name == model else check_listed
        check(folder, name, entry)


def _lines_of(content: bytes, name: str) -> tuple[str, ...]:
    """Split at line feeds only: a label may contain any other character that breaks lines."""
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise BundleError(f"{name}: not UTF-8", got=error.reason, fix="export the bundle again") from error
    if not lines[-1]:
        lines.pop()
    lines = [line.removesuffix("\r") for line in lines]
    require_texts(lines, name)
    return tuple(lines)


def _check_png(content: bytes, name: str) -> None:
    """Check the size in the header of a PNG file before it is decoded."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") or len(content) < 24:
        raise BundleError(f"{name}: not a PNG file", fix="export the bundle again")
    width, height = struct.unpack(">II", content[16:24])
    if width * height > bound("golden_pixels"):
        raise BundleError(
            f"{name}: too large", got=f"{width}x{height}", expected=f"at most {bound('golden_pixels')} pixels"
        )


def _is_unchanged(folder: Path, raw: bytes | None) -> bool:
    """Return whether ``bundle.json`` still has this content, or none."""
    try:
        return _read_manifest(find_bundle(folder)) == raw
    except BundleError:
        return raw is None


def _read_manifest(folder: Path) -> bytes:
    path = folder / "bundle.json"
    if not is_file(path):
        raise BundleError(
            f"{folder}: not a bundle",
            got="a folder without bundle.json"
            if is_folder(folder)
            else "a file"
            if is_file(folder)
            else "no such folder",
            expected="a folder NAME.edge that holds bundle.json",
            fix="edgeproof export MODEL --out NAME.edge",
        )
    try:
        return read_regular(path, MAX_BYTES)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read", got=error, fix="export the bundle again") from error
