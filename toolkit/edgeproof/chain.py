"""The chain of hops of `evaluate --hops`: PyTorch, contract, ONNX, engine, precision, camera."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec

import numpy as np

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.errors import EdgeproofError, InputError
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.verify.camera_codec import CODECS, CompressedCamera
from edgeproof_runtime.verify.hops import Frames, Hop

__all__ = ["chain_of", "engine_hop", "preparation"]


def preparation(contract: InputContract) -> Callable[[Frames], Tensor]:
    """Return the runtime's preprocessing of frames to a batch tensor."""
    preprocess = Preprocessor(contract)

    def prepare(frames: Frames) -> Tensor:
        batch = np.empty((len(frames), *contract.tensor_shape()[1:]), np.dtype(contract.dtype))
        for slot, frame in zip(batch, frames, strict=True):
            preprocess(frame, out=slot)
        return batch

    return prepare


def engine_hop(name: str, what: str, prepare: Callable[[Frames], Tensor], engine: Engine) -> Hop:
    """Return a hop that runs an engine on the same tensors as the hop before it."""

    def infer(batch: Tensor) -> Tensor:
        return engine.run(batch)[0]

    return Hop(name, what, prepare, infer, compared="outputs", precision=engine.artifact.bounds)


def chain_of(
    bundle: Bundle,
    engine: Engine,
    stack: ExitStack,
    *,
    model: str | None = None,
    weights: str | None = None,
    camera: str = "mp4v",
    batch: int = 1,
) -> tuple[list[Hop], list[str]]:
    """Return every hop from the training to this engine behind a camera codec.

    Without PyTorch, the model or its weights, the chain starts at the ONNX model and a note gives the reason.

    Args:
        bundle: an opened bundle.
        engine: engine of the last hop, loaded with a ``max_batch`` of at least ``batch``.
        stack: exit stack that closes the other engines.
        model: MODEL as for `edgeproof export`; None means the one recorded in the bundle.
        weights: weights as for `edgeproof export`; None means those recorded in the bundle.
        camera: one of `CODECS`, or ``none``.
        batch: images per inference.

    Returns:
        The hops in order, and notes for the report.

    Raises:
        InputError: the given model or weights cannot be used, or the camera codec is unknown.
        UnavailableError: ONNX Runtime or the codec's encoder is not available.
    """
    coded = None if camera == "none" else CompressedCamera(camera)
    prepare = preparation(bundle.contract)
    hops, notes = _torch_hops(bundle, prepare, model, weights)
    info = engine.describe()
    precision = engine.artifact.precision
    plain = engine
    base = bundle.manifest.base_precision
    if (info.name, precision) != ("onnxruntime", base):
        reference = stack.enter_context(load_engine(bundle, "onnxruntime", base, max_batch=batch, judged=True))
        hops.append(engine_hop("onnx", f"the ONNX model in ONNX Runtime, {base}", prepare, reference))
        plain = reference
    if precision != base and info.name != "onnxruntime":
        try:
            plain = stack.enter_context(
                load_engine(bundle, info.name, base, max_batch=batch, threads=engine.threads, judged=True)
            )
            hops.append(engine_hop("engine", f"{info.name} {info.version}, {base}", prepare, plain))
        except EdgeproofError as error:
            notes.append(
                f"{info.name}: does not run the {base} model, so engine and precision are one hop: {error.what}."
            )
    last = "onnx" if engine is plain else "engine" if precision == base else "precision"
    hops.append(engine_hop(last, f"{info.name} {info.version}, {precision}", prepare, engine))
    if coded is not None:
        hops.append(_camera_hop(coded, prepare, hops[-1]))
    if len(hops) < 2:
        raise InputError(
            "--hops: only one hop to measure", got=f"{notes[0]}", fix="add --camera, or choose another engine"
        )
    return hops, notes


def _camera_hop(camera: CompressedCamera, prepare: Callable[[Frames], Tensor], before: Hop) -> Hop:
    def through(frames: Frames) -> Tensor:
        return prepare([camera(frame) for frame in frames])

    return Hop("camera", f"the same after {CODECS[camera.codec]}", through, before.infer, precision=before.precision)


def _torch_hops(
    bundle: Bundle, prepare: Callable[[Frames], Tensor], model: str | None, weights: str | None
) -> tuple[list[Hop], list[str]]:
    asked = model is not None or weights is not None
    if find_spec("torch") is None and not asked:
        return [], ['The chain starts at the ONNX model: PyTorch is not installed; pip install "edgeproof[export]".']
    from edgeproof_export import require_export_packages

    require_export_packages()
    from edgeproof_export.hops import torch_hops

    try:
        found = torch_hops(bundle, prepare, model=model, weights=weights)
    except InputError as error:
        if asked:
            raise
        reason = error.what if error.got is None else f"{error.what} ({error.got})"
        fix = "" if error.fix is None else f"; {error.fix}"
        return [], [f"The chain starts at the ONNX model: {reason}{fix}."]
    return list(found.hops), list(found.notes)
