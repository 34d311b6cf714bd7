"""``bundle.json``: the contents of a bundle, as frozen records with full validation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar, get_args

from edgeproof_runtime.bundle.task_settings import AnomalySettings, LatentInput, MultilabelSettings
from edgeproof_runtime.bundle.task_shapes import SHAPES
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import BundleError, ContractError
from edgeproof_runtime.system.spec import SPEC

__all__ = [
    "MODEL_FILES",
    "SCHEMA",
    "SCHEMA_1",
    "Activation",
    "EngineEntry",
    "FileEntry",
    "GoldenEntry",
    "Int8Shape",
    "LeftOutEngine",
    "Manifest",
    "OutputEntry",
    "Part",
    "PartKind",
    "Precision",
    "is_plain",
]

SCHEMA: str = SPEC["schemas"]["bundle"]
_MAX_TEXT: int = SPEC["bounds"]["text_characters"]
_MAX_GOLDEN: int = SPEC["bounds"]["golden_cases"]
_MAX_TENSOR_BYTES: int = SPEC["bounds"]["tensor_bytes"]
SCHEMA_1: str = SPEC["schemas"]["bundle_1"]

Precision = Literal["fp32", "fp16", "int8"]
PartKind = Literal["precision", "engine", "evidence"]
Activation = Literal["none", "softmax", "sigmoid"]

# Two int8 graphs: TensorRT requires symmetric quantisers, CPUs are faster with others.
Int8Shape = Literal["cpu", "tensorrt"]
T = TypeVar("T")

MODEL_FILES: dict[str, str] = {
    "fp32": "model.onnx",
    "fp16": "model.fp16.onnx",
    "int8": "model.int8.onnx",
    "int8-tensorrt": "model.int8-tensorrt.onnx",
}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Hash and size of one file of the bundle."""

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if not (isinstance(self.sha256, str) and re.fullmatch(r"[0-9a-f]{64}", self.sha256)):
            raise BundleError("bundle.json: invalid sha256", got=repr(self.sha256))
        if not _is_index(self.size_bytes):
            raise BundleError("bundle.json: invalid file size", got=repr(self.size_bytes))


@dataclass(frozen=True, slots=True)
class OutputEntry:
    """One output of the model.

    Attributes:
        name: name of the ONNX value.
        shape: without the batch dimension.
        activation: what the graph has already applied: ``none`` means logits.
    """

    name: str
    shape: tuple[int, ...]
    activation: Activation = "none"

    def __post_init__(self) -> None:
        _check_text("output name", self.name)
        if self.activation not in get_args(Activation):
            raise BundleError(
                "bundle.json: unknown activation", got=self.activation, expected=", ".join(get_args(Activation))
            )
        if not all(_is_index(n) and n > 0 for n in self.shape):
            raise BundleError("bundle.json: output shape must be fixed", got=self.shape, expected="positive integers")
        if 4 * math.prod(self.shape) > _MAX_TENSOR_BYTES:
            raise BundleError(
                "bundle.json: output too large", got=self.shape, expected=f"at most {_MAX_TENSOR_BYTES} bytes"
            )


@dataclass(frozen=True, slots=True)
class GoldenEntry:
    """One golden case: a frame, the input tensor that it must become, and PyTorch's outputs.

    For a generator the frame is the image that PyTorch generated, and the tensor is the latent vector.

    Attributes:
        frame: PNG file; for a contract of color ``channels`` an ``.npy`` file.
        tensor: ``.npy`` file, one input without the batch dimension.
        outputs: ``.npy`` files in the order of the manifest's outputs, without the batch dimension.
        top1: class index of PyTorch's top-1 prediction (tasks with classes only).
        label: label of ``top1`` at the export, which reveals permuted labels.
        seed: seed; the tensor is its latent vector 0 (``generate`` only).
    """

    frame: str
    tensor: str
    outputs: tuple[str, ...]
    top1: int | None = None
    label: str | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for what, value in (("frame", self.frame), ("tensor", self.tensor), *(("output", n) for n in self.outputs)):
            _check_text(f"golden case {what}", value)
        if self.top1 is not None and not _is_index(self.top1):
            raise BundleError("bundle.json: invalid golden case top1", got=repr(self.top1), expected="a class index")
        if self.label is not None:
            _check_text("golden case label", self.label)
        if self.seed is not None and not _is_index(self.seed):
            raise BundleError("bundle.json: invalid golden case seed", got=repr(self.seed), expected="an integer >= 0")


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """One compiled engine: ``path`` is the plan or blob, ``info`` its ``engine.json``."""

    key: str
    target: str
    precision: Precision
    path: str
    info: str

    def __post_init__(self) -> None:
        for name in ("key", "target", "path", "info"):
            _check_text(f"compiled engine {name}", getattr(self, name))
        if self.precision not in get_args(Precision):
            raise BundleError(
                "bundle.json: compiled engine of unknown precision",
                got=repr(self.precision),
                expected=", ".join(get_args(Precision)),
            )


@dataclass(frozen=True, slots=True)
class LeftOutEngine:
    """One engine of the exporting machine that did not pass.

    Attributes:
        name: name of the engine.
        version: version that missed its bound; None if the engine did not run the model.
        reason: why, in one clause.
    """

    name: str
    version: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """One part that a bundle works without: an added precision, a compiled engine or a report.

    Attributes:
        kind: ``precision``, ``engine`` or ``evidence``.
        name: the precision (a key of `MODEL_FILES`), the engine's key or the kind of report.
        files: names of its files.
    """

    kind: PartKind
    name: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All of ``bundle.json``, which only an export writes.

    Attributes:
        engines: compiled engines, and ``evidence``: reports; only of a schema 1 manifest. `Bundle.engines` and
            `Bundle.evidence` also have what was attached.
        schema: schema that it was read from.
        contract: how a frame becomes the input tensor; None for a generator.
        latent: the generator's input; None for other tasks.
        anomaly: settings of the task ``reconstruct``; the outputs end with heat map and score.
        multilabel: settings of the task ``multilabel``.

    Raises:
        BundleError: a field has the wrong type, contradicts another or names an unlisted file.
    """

    name: str
    task: str
    contract: InputContract | None
    input_name: str
    outputs: tuple[OutputEntry, ...]
    labels: str | None
    class_ids: str | None
    provenance: dict[str, Any]
    models: dict[str, str]
    golden: tuple[GoldenEntry, ...]
    engines: tuple[EngineEntry, ...] = ()
    evidence: tuple[str, ...] = ()
    files: dict[str, FileEntry] = field(default_factory=dict)
    latent: LatentInput | None = None
    anomaly: AnomalySettings | None = None
    multilabel: MultilabelSettings | None = None
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        self._check_texts()
        if self.task not in SHAPES:
            raise BundleError(
                "bundle.json: unknown task", got=self.task, expected=", ".join(SHAPES), fix="upgrade edgeproof"
            )
        if not self.outputs:
            raise BundleError("bundle.json: no outputs")
        if len(self.golden) > _MAX_GOLDEN:
            raise BundleError(
                "bundle.json: too many golden cases", got=len(self.golden), expected=f"at most {_MAX_GOLDEN}"
            )
        for case in self.golden:
            if len(case.outputs) != len(self.outputs):
                raise BundleError(
                    f"golden case {case.frame}: wrong number of outputs",
                    got=len(case.outputs),
                    expected=len(self.outputs),
                )
        self._check_task()
        if not set(self.models) & set(get_args(Precision)) or not set(self.models) <= set(MODEL_FILES):
            raise BundleError(
                "bundle.json: invalid models",
                got=", ".join(self.models) or "none",
                expected="fp32 (or the precision of a quantised MODEL), and optionally others of "
                + ", ".join(MODEL_FILES),
            )
        for name in self.files:
            _check_relative(name)
        for name in self._referenced():
            if name not in self.files:
                raise BundleError("bundle.json: refers to an unlisted file", got=name, fix="export the bundle again")

    def _check_texts(self) -> None:
        _check_text("name", self.name)
        if re.search(r"[/\\\0]", self.name):
            raise BundleError("bundle.json: invalid name", got=repr(self.name), expected="no path separators")
        _check_text("input name", self.input_name)
        files = [(f"models.{precision}", name) for precision, name in self.models.items()]
        files += [("evidence", name) for name in self.evidence]
        optional = (("labels", self.labels), ("class_ids", self.class_ids))
        for what, file in (*files, *(item for item in optional if item[1] is not None)):
            _check_text(what, file)

    def _check_task(self) -> None:
        shape = SHAPES[self.task]
        shape.check(self)
        fields = {
            "an input contract": (self.contract, shape.takes_frames),
            "a latent input": (self.latent, not shape.takes_frames),
            "an anomaly threshold": (self.anomaly, shape.settings == "anomaly"),
            "label thresholds": (self.multilabel, shape.settings == "multilabel"),
        }
        for what, (value, wanted) in fields.items():
            if (value is not None) != wanted:
                raise BundleError(
                    f"bundle.json: task {self.task} {'requires' if wanted else 'does not allow'} {what}",
                    fix="export the bundle again",
                )

    @property
    def settings(self) -> AnomalySettings | MultilabelSettings | None:
        """Settings of the task; None for a task without settings."""
        field = SHAPES[self.task].settings
        found: AnomalySettings | MultilabelSettings | None = None if field is None else getattr(self, field)
        return found

    @property
    def engines_left_out(self) -> tuple[LeftOutEngine, ...]:
        """Engines of the exporting machine that did not pass; part of the provenance, which every reader keeps."""
        raw = self.provenance.get("engines_left_out")
        found = [one for one in raw if isinstance(one, Mapping)] if isinstance(raw, list) else []
        return tuple(LeftOutEngine(str(one.get("name")), one.get("version"), str(one.get("reason"))) for one in found)

    @property
    def arithmetic(self) -> Precision:
        """Precision that the fp32 model computes in: a graph may round to fp16 between float32 inputs and outputs."""
        return "fp16" if self.provenance.get("arithmetic") == "fp16" else "fp32"

    @property
    def base_precision(self) -> Precision:
        """Precision of the exported model: ``fp32``, except for a MODEL that was already quantised."""
        found: Precision = next(precision for precision in get_args(Precision) if precision in self.models)
        return found

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts that the model works without; a manifest of schema 2 has none."""
        models = [Part("precision", key, (file,)) for key, file in self.models.items() if key != self.base_precision]
        engines = [Part("engine", engine.key, (engine.path, engine.info)) for engine in self.engines]
        return (*models, *engines, *(Part("evidence", PurePosixPath(name).stem, (name,)) for name in self.evidence))

    @property
    def base_files(self) -> dict[str, FileEntry]:
        """The listed files that the model does not work without: all except those of `parts` alone."""
        optional = {file for part in self.parts for file in part.files} - set(self._needed())
        return {name: entry for name, entry in self.files.items() if name not in optional}

    def _needed(self) -> list[str]:
        names = [self.models[self.base_precision]]
        names += [n for n in (self.labels, self.class_ids) if n is not None]
        for case in self.golden:
            names += [case.frame, case.tensor, *case.outputs]
        return names

    def _referenced(self) -> list[str]:
        return [*self._needed(), *(file for part in self.parts for file in part.files)]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `from_json` is the inverse."""
        parts = {"engines": [asdict(engine) for engine in self.engines], "evidence": list(self.evidence)}
        return {
            "schema": self.schema,
            "name": self.name,
            "task": self.task,
            "input": {
                "name": self.input_name,
                "contract": None if self.contract is None else self.contract.to_json(),
                "latent": None if self.latent is None else self.latent.to_json(),
            },
            "outputs": [asdict(output) for output in self.outputs],
            "labels": self.labels,
            "class_ids": self.class_ids,
            "provenance": self.provenance,
            "models": self.models,
            "golden": [asdict(case) for case in self.golden],
            "anomaly": None if self.anomaly is None else self.anomaly.to_json(),
            # Absent for other tasks, whose manifests stay as earlier versions wrote them.
            **({} if self.multilabel is None else {"multilabel": self.multilabel.to_json()}),
            **(parts if self.schema == SCHEMA_1 else {}),
            "files": {name: asdict(entry) for name, entry in sorted(self.files.items())},
        }

    @classmethod
    def from_json(cls, raw: Any) -> Manifest:
        """Validate parsed JSON and build a manifest.

        Raises:
            BundleError: unsupported schema, a missing or unknown field, or a wrong type.
        """
        if not isinstance(raw, Mapping) or "schema" not in raw:
            raise BundleError("bundle.json: not a manifest", expected=f'an object with "schema": "{SCHEMA}"')
        if raw["schema"] not in (SCHEMA, SCHEMA_1):
            raise BundleError(
                "bundle.json: unsupported schema",
                got=raw["schema"],
                expected=f"{SCHEMA_1} or {SCHEMA}",
                fix="upgrade edgeproof, or export the bundle again",
            )
        with_parts = raw["schema"] == SCHEMA_1
        try:
            return cls(
                schema=raw["schema"],
                name=raw["name"],
                task=raw["task"],
                contract=_optional(raw["input"]["contract"], InputContract.from_json),
                input_name=raw["input"]["name"],
                outputs=tuple(
                    OutputEntry(o["name"], _items(o, "shape"), o["activation"]) for o in _items(raw, "outputs")
                ),
                labels=raw["labels"],
                class_ids=raw["class_ids"],
                provenance=_object(raw, "provenance"),
                models=_object(raw, "models"),
                golden=tuple(
                    GoldenEntry(**{**case, "outputs": _items(case, "outputs")}) for case in _items(raw, "golden")
                ),
                engines=tuple(EngineEntry(**engine) for engine in _items(raw, "engines")) if with_parts else (),
                evidence=_items(raw, "evidence") if with_parts else (),
                files={name: FileEntry(**entry) for name, entry in _object(raw, "files").items()},
                # Absent in bundles from before these tasks.
                latent=_optional(raw["input"].get("latent"), LatentInput.from_json),
                anomaly=_optional(raw.get("anomaly"), AnomalySettings.from_json),
                multilabel=_optional(raw.get("multilabel"), MultilabelSettings.from_json),
            )
        except ContractError as error:
            raise BundleError("bundle.json: invalid input contract", got=error) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                "bundle.json: damaged", got=f"{type(error).__name__}: {error}", fix="export the bundle again"
            ) from error


def _optional(raw: Any, build: Callable[[Any], T]) -> T | None:
    return None if raw is None else build(raw)


def _items(raw: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    if not isinstance(raw[name], list):  # a string is iterable, too
        raise TypeError(f"{name} is {type(raw[name]).__name__}, not a list")
    return tuple(raw[name])


def _object(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(raw[name], dict):  # a list of pairs makes a dict, too
        raise TypeError(f"{name} is {type(raw[name]).__name__}, not an object")
    return dict(raw[name])


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise BundleError(f"bundle.json: {what} must be a string", got=repr(value), expected="a string, not empty")
    if len(value) > _MAX_TEXT:
        raise BundleError(
            f"bundle.json: {what} is too long", got=f"{len(value)} characters", expected=f"at most {_MAX_TEXT}"
        )


def is_plain(name: str) -> bool:
    """Return whether a name is a plain relative path that stays below its folder."""
    path = PurePosixPath(name)
    climbs = path.is_absolute() or ".." in path.parts
    return bool(name) and not climbs and "\\" not in name and "\0" not in name and str(path) == name


def _check_relative(name: str) -> None:
    """Raise `BundleError` unless ``name`` is a plain relative path inside the bundle."""
    if not is_plain(name):
        raise BundleError("bundle.json: path outside the bundle", got=repr(name), expected="a plain relative path")
