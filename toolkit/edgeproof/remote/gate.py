"""The remote gate: golden cases through a server, hop by hop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgeproof.remote.engine import RemoteEngine
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.parity import OutputsMeter
from edgeproof_runtime.tasks.registry import head_of, task_of

__all__ = ["remote_gates"]

_MOST_PROBABILITY_DIFF = 1e-5  # of the same engine's outputs for the same tensor, in batches of other sizes


def remote_gates(bundle: Bundle, engine: RemoteEngine, cases: Sequence[GoldenCase]) -> tuple[list[Gate], list[str]]:
    """Replay golden cases on a server.

    Gates: ``server network`` sends golden tensors to the network; ``server preprocessing`` compares the tensors that
    the server makes of golden frames, or what its network makes of them; ``server outputs`` sends golden frames
    through the whole.

    Returns:
        The gates, of the hops that the server offers, and what was not compared, in sentences.

    Raises:
        InputError: the server's labels are not the bundle's, or it refuses a request.
        UnavailableError: it cannot be reached.
    """
    notes = [] if engine.of_this_bundle is not False else ["The server names another bundle.json as its bundle."]
    _require_labels(bundle, engine, cases[0], notes)
    gates, images = [], [bundle.read(entry.frame) for entry in bundle.manifest.golden]
    network: list[tuple[Tensor, ...]] = []
    if engine.network is not None:
        network = [engine.run(case.tensor[None]) for case in cases]
        gates.append(_parity(bundle, engine, cases, network, "server network", "golden tensors through the network"))
    else:
        notes.append("The server has no model that takes tensors: its network was not compared by itself.")
    if engine.image is None:
        gates += _of_predictions(bundle, engine, network, images, notes)
        return gates, notes
    sent = [engine.images_of(case.frame, image) for case, image in zip(cases, images, strict=True)]
    whole = [engine.infer_images(image) for image in sent]
    if engine.preprocessing is not None:
        gates.append(_tensors(engine, cases, sent))
    elif network:
        meter = OutputsMeter(bundle.manifest.outputs, ranked=task_of(bundle).ranked)
        for case, reference, answer in zip(cases, network, whole, strict=True):
            meter.update(reference, answer, [case.name])
        what = "the server's outputs for golden frames with its outputs for golden tensors"
        gates.append(meter.gate("server preprocessing", what, engine.artifact.bounds))
    else:
        notes.append(
            "The server has no model that returns or takes tensors: its preprocessing was not compared by itself."
        )
    gates.append(_parity(bundle, engine, cases, whole, "server outputs", "golden frames through the server"))
    return gates, notes


def _parity(
    bundle: Bundle,
    engine: RemoteEngine,
    cases: Sequence[GoldenCase],
    answers: Sequence[tuple[Tensor, ...]],
    name: str,
    what: str,
) -> Gate:
    meter = OutputsMeter(bundle.manifest.outputs, ranked=task_of(bundle).ranked)
    for case, answer in zip(cases, answers, strict=True):
        meter.update([expected[None] for expected in case.outputs], answer, [case.name])
    return meter.gate(name, f"{what} with PyTorch's outputs", engine.artifact.bounds)


def _tensors(engine: RemoteEngine, cases: Sequence[GoldenCase], sent: Sequence[Any]) -> Gate:
    differing, largest = 0, 0.0
    for case, image in zip(cases, sent, strict=True):
        tensor = engine.preprocess(image)[0]
        different = np.ascontiguousarray(tensor).view(np.uint8) != case.tensor.view(np.uint8)
        differing += int(different.any(axis=-1).sum())
        largest = max(largest, float(np.abs(tensor.astype(np.float64) - case.tensor.astype(np.float64)).max()))
    return Gate.judge(
        "server preprocessing",
        "the tensors that the server makes of golden frames with those of the export, bit for bit",
        {"n": float(len(cases)), "differing_rows": float(differing), "max_abs_diff": largest},
        at_most={"differing_rows": 0.0},
    )


def _of_predictions(
    bundle: Bundle,
    engine: RemoteEngine,
    network: Sequence[tuple[Tensor, ...]],
    images: Sequence[bytes],
    notes: list[str],
) -> list[Gate]:
    """Compare what `edgeproof serve` predicts for golden frames with what its outputs for golden tensors mean."""
    if task_of(bundle).head is None:
        return []
    head, largest, differing = head_of(bundle), 0.0, 0
    for outputs, image in zip(network, images, strict=True):
        predicted = engine.client.predict(engine.model, image)
        if predicted is None:
            notes.append("The server takes tensors: its clients preprocess, and no preprocessing was compared.")
            return []
        expected = dict(_values(head(outputs).to_json(len(bundle.labels) or 1)))
        got = dict(_values(predicted))
        differing += sum(value != got.get(key) for key, value in expected.items() if not isinstance(value, float))
        for key, value in expected.items():
            if isinstance(value, float):
                found = got.get(key)
                largest = max(largest, abs(value - found) if isinstance(found, int | float) else math.inf)
    return [
        Gate.judge(
            "server preprocessing",
            "the server's predictions for golden frames with its outputs for golden tensors",
            {"n": float(len(images)), "differing_labels": float(differing), "max_abs_diff": largest},
            at_most={"max_abs_diff": _MOST_PROBABILITY_DIFF},
        )
    ]


def _values(document: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a prediction; ranked labels by their name, because close ones may change places."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _values(value, f"{place}.{key}")
    elif isinstance(document, list):
        for one in document:
            label = one.get("label") if isinstance(one, dict) else None
            yield from _values({k: v for k, v in one.items() if k != "label"}, f"{place}[{label}]") if label else ()
    else:
        yield place, document


def _require_labels(bundle: Bundle, engine: RemoteEngine, case: GoldenCase, notes: list[str]) -> None:
    """Compare the label of every class with the bundle's, through Triton's classification extension.

    Raises:
        InputError: a label differs.
    """
    if not bundle.labels:
        return
    output, spec = bundle.manifest.outputs[0], engine.artifact.input
    count = len(bundle.labels)
    try:
        if engine.network is not None and engine.batch_of_one:
            texts = engine.client.infer(engine.network, spec.name, case.tensor[None], [output.name], classes=count)[0]
        else:
            texts = np.array([], object)
        found = dict(_class_of(text) for text in texts.ravel())
    except (InputError, ValueError):  # an extension of Triton
        found = {}
    if not found:
        predicted = None
        if engine.image is None and task_of(bundle).head is not None:
            predicted = engine.client.predict(engine.model, bundle.read(bundle.manifest.golden[0].frame))
        names = {one.get("label") for one in (predicted or {}).get("top", ()) if isinstance(one, dict)}
        if not names:
            notes.append("The server does not say its labels: they were not compared.")
            return
        missing = [label for label in bundle.labels if label not in names]
        if missing:
            raise _other_labels(engine, bundle, f"labels without {missing[0]!r}", repr(missing[0]))
        return
    for index, label in enumerate(bundle.labels):
        if found.get(index, "") != label:
            raise _other_labels(engine, bundle, f"{found.get(index, '')!r} for class {index}", repr(label))


def _class_of(text: Any) -> tuple[int, str]:
    """Read ``value:index:label``."""
    _, index, label = (text.decode() if isinstance(text, bytes) else str(text)).split(":", 2)
    return int(index), label


def _other_labels(engine: RemoteEngine, bundle: Bundle, got: str, expected: str) -> InputError:
    return InputError(
        f"{engine.client.url}: model {engine.model}: its labels are not those of {bundle.path}",
        got=got,
        expected=expected,
        fix="serve this bundle, or verify the one that is served",
    )
