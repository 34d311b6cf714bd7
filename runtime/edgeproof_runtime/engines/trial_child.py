"""The child process of a trial: load engines, run them once, and say how far each came.

`trial_process` starts it: one job a line on standard input, one message a line on standard output.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor, TensorSpec
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.catalog import CatalogEntry
from edgeproof_runtime.errors import BundleError
from edgeproof_runtime.system.child_side import serve

__all__ = ["job_from_json", "job_to_json", "main"]

Job = tuple[CatalogEntry, ModelArtifact, Sequence[int]]


def job_to_json(job: Job) -> dict[str, Any]:
    """Return plain JSON values: the catalogue's entry, the artifact, and the ``max_batch`` of each load.

    Paths become absolute: the parent's folder may change while the child lives.
    """
    entry, artifact, loads = job
    paths: dict[str, Any] = {
        "path": str(artifact.path.absolute()),
        "info": None if artifact.info is None else str(artifact.info.absolute()),
        "blob": None if artifact.blob is None else str(artifact.blob.absolute()),
        "digests": {str(path.absolute()): digest for path, digest in artifact.digests.items()},
    }
    return {"entry": asdict(entry), "artifact": {**asdict(artifact), **paths}, "loads": list(loads)}


def job_from_json(raw: dict[str, Any]) -> Job:
    """Inverse of `job_to_json`."""
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in raw["entry"].items()}
    artifact = raw["artifact"]
    info, blob = artifact["info"], artifact["blob"]
    return (
        CatalogEntry(**fields),
        ModelArtifact(
            **{
                **artifact,
                "path": Path(artifact["path"]),
                "info": None if info is None else Path(info),
                "blob": None if blob is None else Path(blob),
                "input": _spec(artifact["input"]),
                "outputs": tuple(_spec(output) for output in artifact["outputs"]),
                "taps": tuple(_spec(tap) for tap in artifact["taps"]),
                "digests": {Path(path): digest for path, digest in artifact["digests"].items()},
            }
        ),
        raw["loads"],
    )


def _spec(raw: dict[str, Any]) -> TensorSpec:
    return TensorSpec(raw["name"], tuple(raw["shape"]), raw["dtype"])


def main() -> None:
    """Try one job after another until standard input ends."""
    serve(lambda job: _try_out(job_from_json(job)))


def _try_out(job: Job) -> Iterator[dict[str, object]]:
    """Yield a message after each load, and one after the last.

    What raises has not harmed the process: the parent meets the same exception where its user can read it.
    """
    entry, artifact, loads = job
    try:
        catalog.register(entry)
        cls = entry.load_class()
    except Exception as error:
        yield {"untried": f"{type(error).__name__}: {error}"}
        return
    for max_batch in loads:
        try:
            engine = cls(replace(artifact, max_batch=max_batch))
        except BundleError as error:  # modified since the parent read its hash: another model would be tried
            yield {"untried": error.what}
            return
        except Exception:
            yield {"loaded": max_batch}
            continue
        with contextlib.suppress(Exception), engine:
            try:
                for batch in _inputs(artifact.input, 1):
                    engine.run(batch)
                yield {"ran": 1}
            except Exception:  # a graph whose batch is fixed at more than 1
                engine.run(next(_inputs(artifact.input, max_batch)))
            else:
                for batch in _inputs(artifact.input, 2) if max_batch > 1 else ():
                    engine.run(batch)
        yield {"loaded": max_batch}
    yield {"done": True}


def _inputs(spec: TensorSpec, count: int) -> Iterator[Tensor]:
    """Yield zeros, then noise: a graph may branch on its values, and nothing passes a threshold in zeros."""
    shape, dtype = (count, *spec.shape), np.dtype(spec.dtype)
    yield np.zeros(shape, dtype)
    rng = np.random.default_rng(0)
    yield rng.integers(0, 256, shape).astype(dtype) if dtype.kind in "iu" else rng.standard_normal(shape).astype(dtype)
