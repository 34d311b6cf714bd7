"""Evaluate several bundles on the same labelled dataset, and compare them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.library.evaluate import EvaluationReport, evaluate
from edgeproof.library.inputs import open_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.figures import Quality, quality_of
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.paired import Paired
from edgeproof_runtime.system.boundary import bounded

__all__ = ["Evaluations", "check_several", "evaluate_all", "one_cluster"]

_SCHEMA = "edgeproof.evaluations/1"
_OF_ONE = ("predictions", "model", "weights")  # options that name one file, or one bundle's model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluations:
    """Results of several bundles on the same data, in the order in which they were given.

    Attributes:
        data: the dataset.
        bundles: path of each bundle.
        reports: report of each bundle.
    """

    data: str
    bundles: Sequence[str]
    reports: Sequence[EvaluationReport]

    @property
    def passed(self) -> bool:
        """Whether every gate of every bundle passed."""
        return not any(self.failed.values())

    @property
    def failed(self) -> Mapping[str, Sequence[Gate]]:
        """Failed gates of each bundle."""
        return {
            name: [gate for gate in report.gates if not gate.passed]
            for name, report in zip(self.bundles, self.reports, strict=True)
        }

    @property
    def qualities(self) -> Sequence[Quality | None]:
        """The task's figure of each bundle with its 95 % interval; None if there is none."""
        return [quality_of(report.sections, name) for name, report in zip(self.bundles, self.reports, strict=True)]

    @property
    def changes(self) -> Sequence[Paired | None]:
        """Each classifier compared with the first bundle, image by image.

        None for the first bundle, for other tasks, and where images or labels differ.
        """
        first, *others = self.reports
        return [None, *(one.top_one.against(first.top_one) for one in others)]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, ``"schema": "edgeproof.evaluations/1"``; each bundle's report is part of them."""
        rows = zip(self.bundles, self.reports, self.qualities, self.changes, strict=True)
        return {
            "schema": _SCHEMA,
            "data": self.data,
            "passed": self.passed,
            "bundles": [
                {
                    "bundle": name,
                    "passed": report.passed,
                    "metric": None if quality is None else quality.metric,
                    "value": None if quality is None else quality.value,
                    "ci95": None if quality is None or quality.ci95 is None else list(quality.ci95),
                    "n": report.counts["frames_classified"],
                    "against_first": None if change is None else change.to_json(),
                    "report": report.to_json(),
                }
                for name, report, quality, change in rows
            ],
        }


@bounded
def evaluate_all(
    bundles: Sequence[str | Path | Bundle], data: str | Path, *, on: str | None = None, **options: Any
) -> Evaluations:
    """Evaluate several bundles on the same labelled images, one after another, with the same options.

    Args:
        bundles: paths of bundles, or opened ones.
        data: a dataset, as for `evaluate`.
        on: compute the outputs on a Ray cluster, which is started once; None for this process.
        options: further options of `evaluate`, without ``predictions``, ``model`` and ``weights``.

    Raises:
        BundleError: a bundle is damaged; the others were not evaluated.
        InputError: no bundle, one that is given twice, or as for `evaluate`.
        UnavailableError: an engine, or Ray, is not available on this machine.
    """
    opened = [open_bundle(bundle) for bundle in bundles]
    check_several(opened, options)
    with one_cluster(on):
        reports = [evaluate(bundle, data, on=on, **options) for bundle in opened]
    return Evaluations(data=str(data), bundles=[str(bundle.path) for bundle in opened], reports=reports)


def check_several(bundles: Sequence[Bundle], options: Mapping[str, Any]) -> None:
    """Check that several bundles can be evaluated with the same options.

    Raises:
        InputError: no bundle, one that is given twice, or an option of one bundle.
    """
    if not bundles:
        raise InputError("evaluate: requires a bundle", got="none")
    places: set[Path] = set()
    for bundle in bundles:
        place = Path(bundle.path).resolve()
        if place in places:
            raise InputError(f"{bundle.path}: given twice", expected="each bundle once")
        places.add(place)
    for name in _OF_ONE:
        if len(bundles) > 1 and options.get(name) is not None:
            raise InputError(
                f"--{name}: requires one bundle", got=f"{len(bundles)} bundles", fix="run evaluate once with each"
            )


@contextmanager
def one_cluster(on: str | None) -> Iterator[None]:
    """Keep one Ray cluster for several evaluations.

    Raises:
        InputError: not a cluster, or it cannot be reached.
        UnavailableError: Ray is not installed.
    """
    if on is None:
        yield
        return
    from edgeproof.scale.pools import check_place, connected

    check_place(on)
    with connected(on):
        yield
