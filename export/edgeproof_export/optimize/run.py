"""``optimize``: add fp16 and int8 to a bundle within an accuracy budget."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from edgeproof_export.attach import Addition, Identity, attach
from edgeproof_export.onnx_files.nodes import name_nodes
from edgeproof_export.onnx_files.reading import parse_onnx
from edgeproof_export.optimize.bench import Bench, Tell
from edgeproof_export.optimize.candidate import Answers
from edgeproof_export.optimize.fp16 import Kept, find_sensitive, rounded
from edgeproof_export.optimize.judge import Judge
from edgeproof_export.optimize.outcome import Outcome, Precisions, flips_of
from edgeproof_export.optimize.points import Point
from edgeproof_export.optimize.recipes import require_quantizer
from edgeproof_export.optimize.search import Found, search_int8
from edgeproof_export.optimize.split import make_split
from edgeproof_export.optimize.work import Work
from edgeproof_export.precision import to_fp16
from edgeproof_export.tasks import budget_of
from edgeproof_runtime import engines
from edgeproof_runtime.bundle.manifest import MODEL_FILES, PartKind
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import ImageList, LabelledImages
from edgeproof_runtime.engines import trial
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.files import cache_folder

__all__ = ["OptimizeOptions", "optimize_bundle"]

# In order of preference: OpenVINO is the fastest on most CPUs; the export requires ONNX Runtime.
_JUDGES = ("openvino", "onnxruntime")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeOptions:
    """Options of an optimisation.

    Attributes:
        precisions: ``fp16``, ``int8`` or both.
        max_drop: accuracy budget: largest drop of the task's metric from fp32, 0..1.
        calibration_pictures: most calibration images.
        engine: engine of validation and timing; None means OpenVINO, else ONNX Runtime.
        threads: CPU threads of the engine.
        force: permit fewer than 50 calibration images.
        work: folder for finished steps, kept; None means edgeproof's cache until the run completes.

    Raises:
        InputError: a value is out of range.
    """

    precisions: Precisions = ("fp16", "int8")
    max_drop: float = 0.01
    calibration_pictures: int = 300
    engine: str | None = None
    threads: int | None = None
    force: bool = False
    work: Path | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.precisions if name not in ("fp16", "int8")]
        if unknown or not self.precisions:
            raise InputError(
                "--precision: unsupported by optimize", got=", ".join(unknown) or "none", expected="fp16, int8"
            )
        if not 0.0 <= self.max_drop <= 1.0:
            raise InputError("--max-drop: out of range", got=self.max_drop, expected="0..1, such as 0.01")
        if self.engine is not None and self.engine not in _JUDGES:
            raise InputError("--engine: unsupported by optimize", got=self.engine, expected=", ".join(_JUDGES))


@trial.one_child()
def optimize_bundle(
    bundle: Bundle,
    data: LabelledImages[Any],
    options: OptimizeOptions,
    *,
    calibration: ImageList | LabelledImages[Any] | None = None,
    answers: Answers | None = None,
    tell: Tell = lambda _phase, _done, _total: None,
) -> Outcome:
    """Add precisions to a bundle within an accuracy budget; the bundle changes only at the end.

    Args:
        bundle: opened bundle of a task with a budget; see `edgeproof_export.tasks.budget_of`.
        data: labelled images of the task; split unless ``calibration`` is given.
        options: the options.
        calibration: calibration images, disjoint from ``data``.
        answers: computes scores of graphs elsewhere, as this process does; None computes them here.
        tell: called with (phase, done, total).

    Returns:
        The outcome; its ``bundle`` has the models within the budget, and no others of these precisions.

    Raises:
        InputError: the task has no budget, the images cannot be split, or the model cannot be quantised.
        UnavailableError: NNCF, or every engine for validation, is not installed.
        KeyboardInterrupt: the user stopped it; the bundle is unchanged, and the next run resumes.
    """
    budget_of(bundle)  # the task must have one
    if bundle.manifest.base_precision != "fp32":
        raise InputError(
            f"{bundle.path}: already quantised",
            got=f"a model exported in {bundle.manifest.base_precision}",
            expected="a bundle with an fp32 model",
            fix="export the model from before its quantisation, and optimize that",
        )
    if bundle.contract.dtype != "float32":
        raise InputError("model input: must be float32", got=bundle.contract.dtype)
    budget = budget_of(bundle, data.names)
    if "int8" in options.precisions:
        require_quantizer()
    engine = options.engine or _first_judge()
    split = make_split(
        data,
        calibration,
        bundle.contract,
        calibration_pictures=options.calibration_pictures,
        force=options.force,
        advance=partial(tell, "reading images"),
    )
    with bundle.artifact("fp32").onnx() as copy:
        source = name_nodes(parse_onnx(Path(copy.path)).model)
    work = Work(options.work or cache_folder() / "optimize", keep=options.work is not None)
    with ExitStack() as stack:
        scratch = Path(tempfile.mkdtemp(prefix="edgeproof-optimize-"))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        judge = Judge(bundle, engine, options.threads, scratch, output=budget.output, answers=answers)
        bench = Bench(
            source=source,
            judge=judge,
            fp32=judge,
            split=split,
            work=work,
            budget=budget,
            max_drop=options.max_drop,
            tell=tell,
        )
        reference = bench.scores(source, split.validation, "fp32: validation")
        found: dict[str, Found] = {}
        kept: tuple[Kept, ...] = ()
        if options.max_drop > 0:
            if "fp16" in options.precisions:
                found["fp16"], kept = _fp16(bench, scratch)
            if "int8" in options.precisions:
                found["int8"] = search_int8(bench, "cpu")
                found["int8-tensorrt"] = search_int8(bench.by_arithmetic(), "tensorrt")
        models = {name: one.model for name, one in found.items() if one.model is not None}
        flips = {name: flips_of(budget, split.validation, reference, one.scores) for name, one in found.items()}
    optimized = _put(bundle, models, options.precisions)
    work.done()
    return Outcome(
        bundle=optimized,
        max_drop=options.max_drop,
        engine=engine,
        split=split,
        budget=budget,
        fp32=reference,
        found=found,
        kept=kept,
        flips=flips,
        precisions=options.precisions,
    )


def _first_judge() -> str:
    here = [name for name in _JUDGES if engines.engine_class(name).unavailable_reason() is None]
    if not here:
        raise UnavailableError(
            "optimize: no engine for validation is installed", fix='pip install "edgeproof[optimize]"'
        )
    return here[0]


def _fp16(bench: Bench, scratch: Path) -> tuple[Found, tuple[Kept, ...]]:
    kept = find_sensitive(bench.source, bench.split.calibration, partial(bench.tell, "fp16: comparing activations"))
    names = {one.layer for one in kept}
    onnx.save(bench.source, scratch / "named.onnx")
    to_fp16(scratch / "named.onnx", scratch / "fp16.onnx", names)
    model = onnx.load(scratch / "fp16.onnx")
    # ONNX Runtime keeps explicit casts, so the outputs include the graph's rounding.
    simulation = replace(bench, judge=replace(bench.judge, engine="onnxruntime"))
    half = rounded(bench.source, names)
    paired, scores = simulation.compare(half, "fp16: validation")
    apart = simulation.distance(half, "fp16: answers")
    speed = bench.judge.speed(bench.source, model, "fp16")
    layers = tuple(one.layer for one in kept)
    point = Point("fp16", "rounded to fp16, sums in fp32", layers, paired, apart, speed, model.ByteSize())
    held = point.held(bench.max_drop)
    notes = []
    if held and not point.pays():
        notes.append(
            f"fp16: within the budget, not faster than fp32 on this machine ({speed.sentence}); "
            "auto decides on the device."
        )
    if not held:
        drop = 100 * paired.drop
        notes.append(f"fp16: misses the budget of {100 * bench.max_drop:g} %: {drop:.2f} points below fp32.")
    return Found(model if held else None, (replace(point, chosen=held),), (), scores, tuple(notes)), kept


def _put(bundle: Bundle, models: dict[str, onnx.ModelProto], precisions: Precisions) -> Bundle:
    """Replace the bundle's models of the requested precisions by these, and remove engines of the old ones."""
    additions = [
        Addition("precision", name, {MODEL_FILES[name]: model.SerializeToString(deterministic=True)})
        for name, model in models.items()
    ]

    def outdated(now: Bundle) -> list[Identity]:
        owned = [name for name in now.models if name.split("-")[0] in precisions]
        engines = [entry.key for entry in now.engines() if entry.precision in precisions]
        parts: list[tuple[PartKind, list[str]]] = [("precision", owned), ("engine", engines)]
        return [(kind, name) for kind, names in parts for name in names]

    return attach(bundle, additions, drop=outdated)
