"""Export of the task ``generate``: a generator of images from latent vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeproof_export.tasks.record import (
    MOST_IMAGES_COMPARED,
    MOST_IMAGES_GOLDEN,
    ExportSteps,
    Reference,
    Request,
    TaskModel,
    model_metadata,
)
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.latent import latents
from edgeproof_runtime.bundle.manifest import OutputEntry
from edgeproof_runtime.bundle.task_settings import LatentInput
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.tasks.generate import TASK, to_pictures

if TYPE_CHECKING:
    from edgeproof_export.golden import Golden
    from edgeproof_export.models import Source

__all__ = ["STEPS"]


def _prepare(source: Source, request: Request) -> TaskModel:
    # Both import PyTorch, which takes seconds and is not needed by `optimize`.
    from edgeproof_export.pytorch.reference import checkpoint_reference
    from edgeproof_export.weights.fit import weights_digest

    blueprint, network, reference = checkpoint_reference(source)
    if "latent" not in blueprint.facts:
        raise InputError(f"{source.spec}: does not describe the generator's input", fix="train it again")
    latent = LatentInput.from_json(blueprint.facts["latent"])
    compared = min(request.gate_images, MOST_IMAGES_COMPARED)
    cases = [_golden(seed, latent, reference) for seed in range(min(request.golden_images, MOST_IMAGES_GOLDEN))]
    digest = weights_digest(dict(network.state_dict()))
    return TaskModel(
        model=network,
        reference=reference,
        weights_sha256=digest,
        input=TensorSpec("latent", (latent.size,)),
        max_batch=latent.batch.max,
        outputs=(OutputEntry("picture", cases[0].output.shape),),
        metadata=model_metadata(TASK.name, digest),
        contract=None,
        manifest={"latent": latent},
        cases=cases,
        inputs=[([f"seed 0, number {i}" for i in range(compared)], latents(0, 0, compared, latent.size))],
        total=compared,
        data=f"{compared} latent vectors of seed 0",
        settings={"input": latent.summary()},
        samples=lambda _bundle: [Thumbnail.of(case.name, case.frame, case.name) for case in cases],
        notes=(),
    )


def _golden(seed: int, latent: LatentInput, reference: Reference) -> Golden:
    from edgeproof_export.golden import Golden

    vector = latents(seed, 0, 1, latent.size)
    outputs = tuple(output[0] for output in reference(vector))
    image = to_pictures(outputs[0][None], latent)[0]
    return Golden(f"seed {seed}", seed, image, vector[0], outputs, seed=seed)


STEPS = ExportSteps(task=TASK.name, options=(), prepare=_prepare)
