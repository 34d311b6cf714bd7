"""Read a bundle; every file is checked before it is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor, TensorSpec
from edgeproof_runtime.bundle.manifest import EngineEntry, GoldenEntry, Int8Shape, Manifest, Precision
from edgeproof_runtime.bundle.task_settings import LatentInput
from edgeproof_runtime.contract.contract import BatchBounds, InputContract
from edgeproof_runtime.errors import BundleError, InputError, NotInBundleError
from edgeproof_runtime.system.regular import is_file, is_folder

__all__ = ["Bundle", "GoldenCase", "sha256_of"]


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
    """A bundle on disk, opened with `open`."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Open a bundle and check presence, size and sha256 of every listed file.

        Raises:
            BundleError: not a bundle, damaged, modified, or of another schema.
        """
        folder = Path(path)
        manifest_path = folder / "bundle.json"
        if not is_file(manifest_path):
            raise BundleError(
                f"{path}: not a bundle",
                got="a folder without bundle.json" if is_folder(folder) else "no such folder",
                expected="a folder NAME.edge that holds bundle.json",
                fix="edgeproof export MODEL --out NAME.edge",
            )
        try:
            raw = json.loads(manifest_path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"{manifest_path}: cannot be read", got=error, fix="export the bundle again") from error
        bundle = cls(folder, Manifest.from_json(raw))
        bundle._check_files()
        return bundle

    def _check_files(self) -> None:
        root = self.path.resolve()
        for name, entry in self.manifest.files.items():
            file = self.path / name
            if not file.is_file():
                raise BundleError(f"{self.path}: file missing", got=f"no {name}", fix="copy the whole folder again")
            if not file.resolve().is_relative_to(root):
                raise BundleError(f"{name}: leads outside the bundle", got=file.resolve(), expected=f"inside {root}")
            size = file.stat().st_size
            if size != entry.size_bytes:
                raise BundleError(
                    f"{file}: modified",
                    got=f"{size} bytes",
                    expected=f"{entry.size_bytes} bytes",
                    fix="copy the whole folder again, or export the bundle again",
                )
            digest = sha256_of(file)
            if digest != entry.sha256:
                raise BundleError(
                    f"{file}: modified",
                    got=f"sha256 {digest}",
                    expected=f"sha256 {entry.sha256}",
                    fix="copy the whole folder again, or export the bundle again",
                )

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
        lines = tuple((self.path / name).read_text(encoding="utf-8").splitlines())
        classes = self.manifest.outputs[0].shape[0]
        if len(lines) != classes:
            raise BundleError(f"{name}: does not match the model", got=f"{len(lines)} lines", expected=f"{classes}")
        return lines

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions of the bundle's ONNX models, fp32 first."""
        return tuple(name for name in self.manifest.models if name in get_args(Precision))

    def artifact(
        self, precision: str | None = None, *, int8_shape: Int8Shape = "cpu", max_batch: int | None = None
    ) -> ModelArtifact:
        """Return what an engine loads for a precision.

        Args:
            precision: one of `precisions`; None for the exported model's.
            int8_shape: int8 graph that the engine takes; see `Manifest.model_for`.
            max_batch: largest batch that the engine must accept; None for the contract's upper bound.

        Raises:
            NotInBundleError: the bundle has no model of this precision.
            InputError: the precision is unknown, or ``max_batch`` is outside the contract's bounds.
        """
        manifest = self.manifest
        precision = precision or manifest.base_precision
        if precision not in get_args(Precision):
            raise InputError("unknown precision", got=precision, expected=", ".join(get_args(Precision)))
        name = manifest.model_for(precision, int8_shape)
        if name is None:
            raise NotInBundleError(
                f"{self.path}: no {precision} model",
                got=", ".join(manifest.models),
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
            path=self.path / name,
            precision=precision,
            input=self.input_spec,
            outputs=tuple(TensorSpec(output.name, output.shape) for output in manifest.outputs),
            max_batch=max_batch or bounds.max,
            arithmetic=manifest.arithmetic if precision == "fp32" else None,
            digests={self.path / file: entry.sha256 for file, entry in manifest.files.items()},
        )

    def engines(self, target: str | None = None) -> tuple[EngineEntry, ...]:
        """List the compiled engines, optionally of one target."""
        return tuple(e for e in self.manifest.engines if target is None or e.target == target)

    def sha256(self, name: str) -> str:
        """Return the sha256 of a listed file, checked when the bundle was opened."""
        return self.manifest.files[name].sha256

    def golden(self) -> Iterator[GoldenCase]:
        """Load the golden cases one at a time."""
        for entry in self.manifest.golden:
            yield self._golden_case(entry)

    def _golden_case(self, entry: GoldenEntry) -> GoldenCase:
        frame = self._golden_frame(entry.frame)
        try:
            tensor = np.load(self.path / entry.tensor, allow_pickle=False)
            outputs = tuple(np.load(self.path / name, allow_pickle=False) for name in entry.outputs)
        except (OSError, ValueError, EOFError) as error:
            raise BundleError(f"golden case {entry.frame}: cannot be read", got=error) from error
        return GoldenCase(entry.frame, frame, tensor, outputs, entry.top1, entry.label, entry.seed)

    def _golden_frame(self, name: str) -> NDArray[Any]:
        if name.endswith(".npy"):
            try:
                found: NDArray[Any] = np.load(self.path / name, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise BundleError(f"{name}: cannot be read", got=error, fix="export the bundle again") from error
            return found
        frame = cv2.imread(str(self.path / name), cv2.IMREAD_UNCHANGED)
        if frame is None or frame.dtype != np.uint8:
            raise BundleError(f"{name}: not an 8-bit image", fix="export the bundle again")
        return frame


def sha256_of(path: Path) -> str:
    """Compute the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
