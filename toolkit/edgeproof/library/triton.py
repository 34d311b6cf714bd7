"""Write a model repository of NVIDIA's Triton Inference Server from a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.library.inputs import open_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.boundary import bounded

__all__ = ["TritonRepository", "triton"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonRepository:
    """What `triton` wrote.

    Attributes:
        repository: folder for ``tritonserver --model-repository``.
        name: name of the model for clients.
        entry: its models, what they were made of, and the engines of the network.
        notes: what the user should know, in sentences.
    """

    repository: Path
    name: str
    entry: dict[str, Any]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, ``"schema": "edgeproof.triton/1"``."""
        return {
            "schema": "edgeproof.triton/1",
            "repository": str(self.repository),
            "models": {self.name: self.entry},
            "notes": list(self.notes),
        }


@bounded
def triton(
    bundle: str | Path | Bundle,
    repository: str | Path,
    *,
    name: str | None = None,
    preprocess: str = "python",
    image: str = "encoded",
    engine: str = "onnxruntime",
    precision: str | None = None,
) -> TritonRepository:
    """Write a bundle into a model repository of NVIDIA's Triton Inference Server.

    With ``preprocess="python"`` the model ``NAME`` is an ensemble: ``NAME_pre`` turns images into tensors with
    edgeproof's core, bit for bit as on the device, and ``NAME_net`` is the network.

    Args:
        bundle: path of a bundle, or an opened one.
        repository: folder; models that edgeproof wrote there stay.
        name: name of the model; None means the bundle's.
        preprocess: ``python``, or ``client`` for the network alone, which takes preprocessed tensors.
        image: ``encoded`` takes JPEG or PNG files, ``frame`` BGR pixels of any size (uint8 ``HxWx3``).
        engine: engine of the network: one or several of ``onnxruntime``, ``tensorrt``, ``openvino`` and ``python``,
            separated by commas; the first is the default.
        precision: one of the bundle's precisions; None means the exported model's.

    Raises:
        BundleError: the bundle is damaged.
        InputError: an argument is unknown, or the folder is not a repository that edgeproof wrote.
        UnavailableError: OpenVINO is not installed, or a TensorRT plan of another machine is not trusted.
    """
    from edgeproof.model_repository.repository import write_repository

    opened = open_bundle(bundle)
    for option, given, known in (
        ("--preprocess", preprocess, ("python", "client")),
        ("--image", image, ("encoded", "frame")),
    ):
        if given not in known:
            raise InputError(f"{option}: unknown", got=given, expected=" or ".join(known))
    if preprocess == "python" and opened.manifest.contract is None:
        raise InputError(
            f"{opened.path}: takes no images", got=f"task {opened.manifest.task}", fix="use --preprocess client"
        )
    opened.check()
    target = Path(repository)
    engines = list(dict.fromkeys(part.strip() for part in engine.split(",") if part.strip()))
    if not engines:
        raise InputError("--engine: empty", expected="one or several engines, such as onnxruntime,tensorrt")
    chosen = precision or opened.manifest.base_precision
    named = opened.name if name is None else name
    entry, notes = write_repository(
        opened,
        target,
        named,
        image=None if preprocess == "client" else image,  # type: ignore[arg-type]  # checked above
        precision=chosen,
        engines=engines,
    )
    return TritonRepository(repository=target, name=named, entry=entry, notes=notes)
