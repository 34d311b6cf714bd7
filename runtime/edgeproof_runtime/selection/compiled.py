"""The compiled engines of a bundle: the one for this machine, and trust in those of other machines."""

from __future__ import annotations

from dataclasses import replace

from edgeproof_runtime.bundle.artifact import ModelArtifact
from edgeproof_runtime.bundle.engine_record import read_record, verify_gpu
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.trust import trust
from edgeproof_runtime.engines import _cuda, catalog
from edgeproof_runtime.errors import BundleError, InputError, NotInBundleError, UnavailableError

__all__ = ["compiled_artifact", "trust_engines"]


def compiled_artifact(
    bundle: Bundle, target: str, precision: str = "fp32", *, compute_capability: str | None = None
) -> ModelArtifact:
    """Return the bundle's compiled engine (TensorRT's plan, OpenVINO's blob) of a target and precision.

    Args:
        bundle: an opened bundle; opening it checked the hashes.
        target: one of the catalogue's compile targets.
        precision: one of the bundle's precisions.
        compute_capability: of the GPU to run on; None asks this machine's if the bundle has several plans.

    Raises:
        NotInBundleError: the bundle has no such model or compiled engine.
        UnavailableError: the bundle has no plan for this GPU.
        BundleError: the plan was built from another model than the bundle's.
    """
    model = bundle.artifact(precision, int8_shape=catalog.int8_shape(target))
    onnx_sha256 = model.digests[model.path]
    command = f"edgeproof compile {bundle.path} --target {target} --precision {precision}"
    entries = [entry for entry in bundle.engines(target) if entry.precision == precision]
    found = [(entry, read_record(bundle.read(entry.info), entry.info)) for entry in entries]
    if compute_capability is None and len(entries) > 1 and _cuda.unavailable_reason() is None:
        device = _cuda.device()
        compute_capability = device.compute_capability
        found.sort(key=lambda one: one[1].gpu != device.identity)  # that of this GPU before others of its capability
    refusal: UnavailableError | BundleError | None = None
    for entry, record in found:
        if record.onnx_sha256 != onnx_sha256:
            refusal = BundleError(
                f"{entry.path}: built from another model",
                got=f"ONNX sha256 {record.onnx_sha256}",
                expected=f"sha256 {onnx_sha256} of {model.path.name}",
                fix=command,
            )
            continue
        try:
            if compute_capability is not None:
                verify_gpu(record, compute_capability, "this GPU")
        except UnavailableError as error:
            refusal = error
            continue
        max_batch = min(model.max_batch, record.profile.max)
        plan, info = bundle.locate(entry.path), bundle.locate(entry.info)
        return replace(model, path=plan, info=info, max_batch=max_batch)
    if refusal is not None:
        raise refusal
    raise NotInBundleError(
        f"{bundle.path}: no {precision} engine for {target}", got=bundle.why_left_out("engine"), fix=command
    )


def trust_engines(bundle: Bundle, target: str) -> dict[str, str]:
    """Trust a bundle's compiled engines of a target as they are: whoever compiled them may run code on this machine.

    Returns:
        The sha256 of each engine's file, by its name in the bundle.

    Raises:
        InputError: the target does not compile models.
        NotInBundleError: the bundle has no engine of this target.
    """
    if target not in catalog.compiling():
        raise InputError("unknown target", got=target, expected=", ".join(catalog.compiling()))
    found = {entry.path: bundle.sha256(entry.path) for entry in bundle.engines(target)}
    if not found:
        command = f"edgeproof compile {bundle.path} --target {target}"
        raise NotInBundleError(f"{bundle.path}: no engine for {target}", fix=command)
    for sha256 in found.values():
        trust(sha256, "trusted by the user")
    return found
