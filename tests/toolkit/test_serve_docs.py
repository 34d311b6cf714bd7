"""The examples of docs/serve.md against a server that runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bundles import make_bundle
from serving import serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "serve.md"
EXAMPLES = re.findall(r"^```(sh|py)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    skimage = pytest.importorskip("skimage")
    pytest.importorskip("tritonclient.http")
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    bundle = make_bundle(tmp_path / "model.edge")
    shutil.copy(Path(skimage.__file__).parent / "data/rocket.jpg", tmp_path / "photograph.jpg")
    monkeypatch.chdir(tmp_path)
    with serving(bundle) as served:
        for language, example in EXAMPLES:
            code = example.replace("127.0.0.1:8080", f"127.0.0.1:{served.port}")
            if language == "py":
                exec(compile(code, PAGE.name, "exec"), {})  # noqa: S102 - that is what a documentation test is
                assert capsys.readouterr().out
            else:
                done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)  # noqa: S607
                assert done.returncode == 0, done.stdout + done.stderr
                assert done.stdout
    assert len(EXAMPLES) == 5
