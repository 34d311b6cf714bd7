"""examples/first_steps.ipynb runs from its first cell to its last, and is kept without outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bundles import make_bundle

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples/first_steps.ipynb"


def test_it_is_kept_without_outputs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow
# ipykernel's and jupyter_client's own; a cell's warning is in the notebook's outputs.
@pytest.mark.filterwarnings("ignore")
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    make_bundle(tmp_path / "edgeproof-demo/efficientnet-lite0.edge")
    shutil.copy(NOTEBOOK, tmp_path)
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "jupyter"))
    notebook = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    shown = {
        cell["id"]: output["data"]["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    }
    assert set(shown) == {"bundle", "contract", "prediction", "verify", "run"}
    assert "<svg" in shown["contract"]
    assert "<img" in shown["prediction"]
    assert "parity onnxruntime fp32" in shown["verify"]
    assert 'aria-label="latency by stage"' in shown["run"]
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if output.get("name") == "stderr"
    ]
