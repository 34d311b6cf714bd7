"""Bundles that edgeproof 0.1.0 wrote must go on loading: ``tests/golden/bundles-0.1.0.zip`` holds one of each task.

`exported.edge` came from `edgeproof export`, the others from the generators in ``tests/bundles.py`` of that version.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import available
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.verify.golden import compiled_gate, frame_gates, output_gate

ARCHIVE = Path(__file__).resolve().parents[2] / "golden" / "bundles-0.1.0.zip"
TASKS = {"classify": "classify", "exported": "classify", "generate": "generate", "reconstruct": "reconstruct"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schema1")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(path)
    return path


@pytest.mark.parametrize("name", TASKS)
def test_a_bundle_of_0_1_0_passes_its_golden_cases(name: str, folder: Path) -> None:
    bundle = Bundle.open(folder / f"{name}.edge")
    assert bundle.manifest.task == TASKS[name]
    cases = load_golden(bundle)
    gates = frame_gates(bundle, cases)
    assert compiled_gate(bundle) is None
    for engine in available():
        with load_engine(bundle, engine, "fp32") as loaded:
            gates.append(output_gate(bundle, loaded, cases))
    assert [gate.name for gate in gates if not gate.passed] == []


@pytest.mark.parametrize("name", TASKS)
def test_its_manifest_is_written_again_as_it_was(name: str, folder: Path) -> None:
    raw = json.loads((folder / f"{name}.edge" / "bundle.json").read_text(encoding="utf-8"))
    written = json.dumps(Bundle.open(folder / f"{name}.edge").manifest.to_json())
    assert json.loads(written) == raw
