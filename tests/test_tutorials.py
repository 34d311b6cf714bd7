"""The tutorials are followed: every command and Python block of a page runs, in its order, on what the page names."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from bundles import make_bundle, write_clip
from coloured import write_folders
from edgeproof.cli import main
from fleet_bundles import good
from registries import registry
from test_models_page import MY_MODELS

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"^```(console|python|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What a test cannot do, and what it does instead: a camera is a generated stream, and has no window.
INSTEAD = {
    "--source 0": "--source 'synthetic://64x48?frames=30'",
    " --show": "",
    "--duration 30s": "--duration 2s",
}
LEFT_OUT = ("pip install", "edgeproof demo", "edgeproof doctor", "edgeproof optimize")  # downloads; tests of their own
NAMES = ("ants", "bees", "moths")
STREAMS = '[door]\nsource = "synthetic://64x48?frames=20"\nthreshold = 0.7\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the tutorials name."""
    skimage = pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    bundle = make_bundle(tmp_path / "edgeproof-demo/efficientnet-lite0.edge")
    shutil.copytree(bundle.path, "model.edge")
    write_clip(tmp_path / "edgeproof-demo/clip.mp4")
    shutil.copy(Path(skimage.__file__).parent / "data/rocket.jpg", "photograph.jpg")
    return tmp_path


def follow(page: str, monkeypatch: pytest.MonkeyPatch, instead: dict[str, str] | None = None) -> list[str]:
    """Run a page, and return the commands that ran.

    Args:
        instead: what replaces parts of commands, beside `INSTEAD`.
    """
    names: dict[str, object] = {}
    ran = []
    for language, code in BLOCK.findall((DOCS / f"{page}.md").read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(code, page, "exec"), names)  # noqa: S102 - that is what a documentation test is
        if language == "toml":
            Path("streams.toml").write_text(STREAMS)
        code = re.sub(r"\\\n *", "", code)
        for shown in re.findall(r"^\$ (.+)$", code, re.MULTILINE) if language == "console" else ():
            line, _, expected = shown.partition("  # exit code ")
            if line.startswith(LEFT_OUT):
                continue
            for written, meant in {**INSTEAD, **(instead or {})}.items():
                line = line.replace(written, meant)
            assert _exit_code(shlex.split(line), monkeypatch) == int(expected or 0), line
            ran.append(line)
    return ran


def _exit_code(command: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    if command[0] != "edgeproof":
        return subprocess.run(command, check=False, capture_output=True).returncode
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_first_five_minutes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(follow("first-five-minutes", monkeypatch)) == 5
    assert (folder / "edgeproof-demo/events.csv").is_file()


def test_a_model_of_one_s_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my_models.py").write_text(MY_MODELS)
    import my_models

    write_folders(Path("photographs"), NAMES, each=8)
    Path("labels.txt").write_text("\n".join(NAMES))
    images = [(cv2.imread(str(path)), path.parent.name) for path in sorted(Path("photographs").rglob("*.png"))]
    tensors = torch.stack(
        [torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1) / 127.5 - 1 for image, _ in images]
    )
    targets = torch.tensor([("ants", "bees", "moths").index(name) for _, name in images])
    torch.manual_seed(0)
    network = my_models.build()
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(tensors), targets)
        loss.backward()
        optimiser.step()
    torch.save(network.state_dict(), "best.pth")
    ran = follow("own-model", monkeypatch)
    assert [line.split()[1] for line in ran] == [
        "export",
        "verify",
        "evaluate",
        "tune",
        "run",
        "run",
        "report",
    ]
    assert (folder / "run.html").stat().st_size > 10_000


def test_a_camera(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = follow("camera", monkeypatch)
    assert [line.split()[1] for line in ran] == ["run", "run", "run", "service"]
    assert (folder / "events.csv").read_text().startswith("stream,")


def test_a_fleet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good(folder / "newer/efficientnet-lite0.edge", seed=1)
    with registry(folder / "registry") as running:
        # Models of a few microseconds: their times differ by chance.
        ran = follow("first-fleet", monkeypatch, {"127.0.0.1:5000": running.host, "--once": "--once --max-slowdown 5"})
    assert [line.split()[1] for line in ran if line.startswith("edgeproof")] == [
        "sign", "push", "agent", "agent", "run", "push", "agent", "sign", "push", "agent", "push", "agent",
    ]  # fmt: skip
    outcomes = [path.stem.split("-", 1)[1] for path in sorted((folder / "door/decisions").glob("*.json"))]
    assert outcomes == ["switched", "rejected", "switched", "switched"]
    assert (folder / "door/current.edge").readlink() == (folder / "gate/current.edge").readlink()
