"""The steps of action.yml, run one after the other as GitHub's runner would, in a folder of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from bundles import make_bundle, write_sorted

ROOT = Path(__file__).resolve().parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
EXPORT = "--input-size 16 --mean 0.5,0.5,0.5 --std 0.2,0.2,0.2 --engines onnxruntime --labels 'labels of cats.txt'"


@dataclass
class Done:
    """What became of a run: exit code of each step that ran, outputs of the action, summary of the job."""

    codes: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    said: str = ""


def run_action(workspace: Path, **given: str) -> Done:
    """Run the steps with these inputs, `_` for `-`; steps that use other actions are left out."""
    inputs = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
    inputs |= {name.replace("_", "-"): value for name, value in given.items()}
    assert set(inputs) == set(ACTION["inputs"])
    shims = workspace.parent / "bin"
    if not shims.exists():
        shims.mkdir()
        python = f'#!/bin/sh\n[ "$2" = pip ] && printf "%s\\n" "$@" > {shims}/pip && exit\nexec {sys.executable} "$@"\n'
        for name, text in (("python", python), ("edgeproof", f'#!/bin/sh\nexec {sys.executable} -m edgeproof "$@"\n')):
            (shims / name).write_text(text)
            (shims / name).chmod(0o755)
    values: dict[str, str] = {"github.action_path": str(ROOT)}
    values |= {f"inputs.{name}": value for name, value in inputs.items()}
    done, failed = Done(), False
    summary = workspace.parent / "summary"
    summary.unlink(missing_ok=True)
    for step in ACTION["runs"]["steps"]:
        if "uses" in step or (failed and "if" not in step):
            continue
        output = workspace.parent / "output"
        output.write_text("")
        script = workspace.parent / "step.sh"
        script.write_text(step["run"])
        environment = {name: replaced(value, values) for name, value in step.get("env", {}).items()}
        ran = subprocess.run(
            ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", script],
            cwd=workspace,
            env={
                **os.environ,
                **environment,
                "PATH": f"{shims}:{os.environ['PATH']}",
                "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(summary),
                "EDGEPROOF_CACHE": str(workspace.parent / "cache"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        done.codes[step["name"]] = ran.returncode
        done.said += ran.stdout + ran.stderr
        failed |= ran.returncode != 0
        for line in output.read_text().splitlines():
            name, _, value = line.partition("=")
            values[f"steps.{step['id']}.outputs.{name}"] = value
    done.outputs = {name: replaced(one["value"], values) for name, one in ACTION["outputs"].items()}
    done.summary = summary.read_text() if summary.exists() else ""
    return done


def replaced(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: values.get(found[1], ""), text)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A checkout with an ONNX model and labelled images."""
    place = tmp_path / "workspace"
    place.mkdir()
    bundle = make_bundle(tmp_path / "B.edge")
    (place / "model.onnx").write_bytes((bundle.path / "model.onnx").read_bytes())
    (place / "labels of cats.txt").write_text("\n".join(bundle.labels))
    write_sorted(place / "photographs", bundle)
    return place


@pytest.mark.slow
def test_a_model_is_exported_verified_measured_compared_and_summarised(workspace: Path) -> None:
    given = {"model": "model.onnx", "export_arguments": EXPORT, "data": "photographs"}
    done = run_action(workspace, **given)
    assert done.codes == dict.fromkeys(("install", "export", "verify", "measure", "compare", "summarise"), 0), done.said
    assert (workspace.parent / "bin/pip").read_text().splitlines()[-1] == f"{ROOT}[export,report]"
    for output in done.outputs.values():
        assert (workspace / output).exists(), output
    assert done.outputs["badge"] == "edgeproof-action/badge.svg"
    assert "<svg" in (workspace / done.outputs["badge"]).read_text()
    assert "</html>" in (workspace / done.outputs["page"]).read_text()
    assert done.summary == (workspace / done.outputs["summary"]).read_text()
    for expected in ("### model, export", "### model, verif", "### model, eval", "No baseline: none was given."):
        assert expected.lower() in done.summary.lower(), done.summary
    report = json.loads((workspace / done.outputs["measure"]).read_text())
    assert report["bundle"]["name"] == "model"
    again = run_action(workspace, **given, folder="again", baseline=done.outputs["measure"], package="edgeproof==9")
    assert set(again.codes.values()) == {0}, again.said
    assert "### Comparison" in again.summary
    assert "| " in again.summary.partition("### Comparison")[2]
    assert (workspace.parent / "bin/pip").read_text().splitlines()[-1] == "edgeproof==9"


@pytest.mark.slow
def test_a_failed_gate_fails_its_step_and_is_in_the_summary(workspace: Path) -> None:
    images = sorted((workspace / "photographs").rglob("*.png"))
    for image in images[:6]:
        other = next(f for f in sorted((workspace / "photographs").iterdir()) if f != image.parent)
        image.rename(other / f"moved-{image.name}")
    done = run_action(
        workspace, model="model.onnx", export_arguments=EXPORT, data="photographs", measure_arguments="--min-top1 0.9"
    )
    assert done.codes == {"install": 0, "export": 0, "verify": 0, "measure": 1, "summarise": 0}, done.said
    assert "top-1" in done.summary
    assert "✗" in done.summary
    assert done.outputs["measure"] == "edgeproof-action/measure.json"


@pytest.mark.slow
def test_without_data_latency_is_measured(workspace: Path) -> None:
    done = run_action(
        workspace, model="model.onnx", export_arguments=EXPORT, measure_arguments="--duration 1", baseline="none.json"
    )
    assert set(done.codes.values()) == {0}, done.said
    assert json.loads((workspace / done.outputs["measure"]).read_text())["kind"] == "bench"
    assert "No baseline: none.json." in done.summary


@pytest.mark.slow
@pytest.mark.parametrize("hostile", ['"; touch pwned #$(touch pwned)', "`touch pwned`\ntouch pwned"])
def test_inputs_are_words_and_never_commands(workspace: Path, hostile: str) -> None:
    done = run_action(workspace, model=hostile, export_arguments="'$(touch pwned)' `touch pwned`")
    assert done.codes == {"install": 0, "export": 2, "summarise": 0}, done.said
    assert "edgeproof wrote no report" in done.summary
    assert not list(workspace.rglob("pwned"))


def test_arguments_that_no_shell_would_take_are_refused(workspace: Path) -> None:
    done = run_action(workspace, model="model.onnx", export_arguments="'unbalanced")
    assert done.codes == {"install": 0, "export": 1, "summarise": 0}
    assert "No closing quotation" in done.said


def test_the_definition_is_one_that_github_takes() -> None:
    """What the runner would say of action.yml first: keys, and that a `run` has its shell."""
    assert set(ACTION) == {"name", "description", "branding", "inputs", "outputs", "runs"}
    assert ACTION["runs"]["using"] == "composite"
    ids = {step.get("id") for step in ACTION["runs"]["steps"]}
    text = (ROOT / "action.yml").read_text()
    for step in ACTION["runs"]["steps"]:
        assert set(step) <= {"name", "id", "if", "shell", "env", "run", "uses", "with"}
        assert ("run" in step) == (step.get("shell") == "bash")
        assert "${{" not in step.get("run", ""), "an input would be text of the script"
    for kind, name in re.findall(r"\$\{\{.*?\b(inputs|steps)\.([\w-]+)", text):
        assert name in (ACTION["inputs"] if kind == "inputs" else ids), name
    for one in (*ACTION["inputs"].values(), *ACTION["outputs"].values()):
        assert one["description"]
