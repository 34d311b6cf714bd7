"""The device's layer stays light: what importing it loads, and what it loads in an environment without the rest."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "matplotlib", "jinja2", "PIL", "tensorrt")
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "runtime").with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "runtime/edgeproof_runtime").rglob("*.py")
)
WITHOUT_THE_REST = """
import importlib.abc, json, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import {modules}
print(json.dumps(sorted(m for m in sys.modules if m.split(".")[0] in {heavy!r})))
"""


@pytest.mark.parametrize("modules", ["edgeproof", "edgeproof_runtime", "edgeproof.cli", ", ".join(MODULES)])
def test_imports_without_the_workstations_packages(modules: str) -> None:
    if modules == "edgeproof.cli":
        code = f"import json, sys, edgeproof.cli; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    else:
        code = WITHOUT_THE_REST.format(heavy=HEAVY, modules=modules)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_a_python_that_was_built_without_lzma_will_do() -> None:
    code = "import sys; sys.modules['_lzma'] = None; import edgeproof_runtime, edgeproof.cli"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_evaluates_is_not_loaded_to_run_a_model() -> None:
    code = (
        "import sys; from edgeproof import Classifier; from edgeproof_runtime.tasks.registry import TASKS; "
        "print(sorted(m for m in sys.modules if m.startswith(('edgeproof_runtime.data.', "
        "'edgeproof_runtime.metrics.accuracy', 'edgeproof_runtime.metrics.auroc', "
        "'edgeproof_runtime.metrics.multilabel'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['edgeproof_runtime.data.given']"  # which loads nothing itself


def public_modules() -> list[ModuleType]:
    return [import_module(name) for name in ("edgeproof", "edgeproof_runtime", "edgeproof_runtime.engines")]


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_the_surface_is_what_all_says(module: ModuleType) -> None:
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert missing == []
    assert sorted(module.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n)) == list(module.__all__)


def test_the_version_is_that_of_the_project() -> None:
    import edgeproof

    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{edgeproof.__version__}"' in project


def test_nothing_is_unpickled() -> None:
    for folder in ("runtime", "export", "toolkit"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    text = ast.unparse(node)
                    if text.startswith("torch.load("):
                        assert "weights_only=True" in text, f"{path}: {text}"
                    assert not text.startswith(("pickle.load", "joblib.load")), f"{path}: {text}"
                    if text.startswith("np.load("):
                        assert "allow_pickle=False" in text, f"{path}: {text}"
