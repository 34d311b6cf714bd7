"""The export steps of each task: one registry, which the pipeline and `optimize` ask."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import factories
from bundles import make_bundle, make_generator_bundle
from edgeproof_export import export_bundle, pipeline, tasks
from edgeproof_export.checkpoint import Blueprint
from edgeproof_export.models import Source
from edgeproof_export.optimize import OptimizeOptions, optimize_bundle
from edgeproof_export.tasks import STEPS, budget_of, classify, steps_of
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.tasks import registry
from edgeproof_runtime.tasks.classify import TASK


def test_every_task_of_the_runtime_has_export_steps() -> None:
    assert set(STEPS) == set(registry.TASKS)
    assert all(name == steps.task for name, steps in STEPS.items())


def test_an_unknown_task_is_an_error() -> None:
    with pytest.raises(InputError, match="unknown task") as caught:
        steps_of("segment")
    assert caught.value.got == "segment"
    assert caught.value.expected == ", ".join(STEPS)


def test_a_task_without_a_budget_is_not_optimised(tmp_path: Path) -> None:
    bundle = make_generator_bundle(tmp_path / "other.edge")
    assert not steps_of(bundle.manifest.task).can_optimize
    data = LabelledData.from_arrays(
        torch.zeros(2, 8, 8, 3, dtype=torch.uint8).numpy(), torch.arange(2).numpy(), classes=2, name="x"
    )
    with pytest.raises(InputError, match="cannot be optimised") as caught:
        optimize_bundle(bundle, data, OptimizeOptions(precisions=("fp16",)))
    assert bundle.manifest.task in str(caught.value.got)
    assert "classify" in str(caught.value.expected)


def test_the_budget_of_a_classifier_names_classes(tmp_path: Path) -> None:
    budget = budget_of(make_bundle(tmp_path / "tiny.edge"))
    scores = torch.tensor([[0.0, 2.0, 1.0, 0.0, 0.0], [0.0, float("nan"), 1.0, 0.0, 0.0]]).numpy()
    assert [budget.answer(row) for row in scores] == ["dog", "not a number"]
    assert budget.right(scores, (1, 1)).tolist() == [True, False]
    assert budget.figures(scores, (1, 1))["top1"] == 0.5
    assert budget.summary(scores, (1, 1)).startswith("1 of 2 ")


def test_what_optimize_needs_of_tasks_does_not_load_pytorch() -> None:
    code = "import sys, edgeproof_export.optimize, edgeproof_export.tasks; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_task_is_exported_by_its_steps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a task of another name: nothing else has to know it."""
    blueprint = Blueprint(task="toy", recipe="none", architecture="none", arguments={})
    network = factories.tiny().eval()
    source = Source(
        spec="toy.ckpt",
        model=network,
        contract=network.edgeproof_contract,
        weights="random",
        blueprint=blueprint,
    )
    monkeypatch.setattr(pipeline, "resolve", lambda *_arguments, **_options: source)
    with pytest.raises(InputError, match="unknown task"):
        export_bundle("toy.ckpt", tmp_path / "toy.edge")
    steps = classify.STEPS
    monkeypatch.setitem(tasks.STEPS, "toy", replace(steps, task="toy", options=("labels",)))
    with registry.registered(replace(TASK, name="toy")):
        with pytest.raises(InputError, match="do not apply to task toy") as caught:
            export_bundle("toy.ckpt", tmp_path / "toy.edge", activation="softmax", class_ids=tmp_path / "ids.txt")
        assert caught.value.got == "class ids, an activation"
        done = export_bundle("toy.ckpt", tmp_path / "toy.edge")
        assert done.bundle.manifest.task == "toy"
        assert done.report.passed
    assert not list(tmp_path.glob("*partial*"))
