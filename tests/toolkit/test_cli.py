"""The command line on a small bundle: results, files, messages and exit codes."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import LABELS, frames, make_bundle, rewrite, write_sorted
from command_line import Cli
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.errors import InputError
from growing_files import predictions_in


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("cli") / "tiny.edge")


@pytest.fixture
def bundle(made: Bundle, tmp_path: Path) -> Bundle:
    shutil.copytree(made.path, tmp_path / "tiny.edge")
    return Bundle.open(tmp_path / "tiny.edge")


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    return write_sorted(tmp_path / "data", bundle)


def test_help_names_every_command(cli: Cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    for command in ("demo", "export", "verify", "evaluate", "run", "compile", "inspect", "doctor"):
        assert command in out


@pytest.mark.parametrize("command", ["demo", "export", "verify", "evaluate", "run", "compile", "inspect", "doctor"])
def test_every_command_has_json_and_examples(cli: Cli, command: str) -> None:
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert "--json" in out
    assert f"edgeproof {command}" in out


def test_bad_usage_is_exit_2(cli: Cli) -> None:
    assert cli("evaluate")[0] == 2
    assert cli("nonsense")[0] == 2
    assert cli("verify", "no.edge", "--nonsense")[0] == 2


def test_verify_passes_on_every_engine(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    code, out, _ = cli("verify", bundle.path, "--json", tmp_path / "verify.json")
    assert code == 0
    assert ": verified on" in out
    report = json.loads((tmp_path / "verify.json").read_text())
    assert report["kind"] == "verify"
    assert report["passed"] is True
    assert {gate["name"] for gate in report["gates"]} >= {"preprocessing", "labels", "parity onnxruntime fp32"}


def test_verify_of_a_planted_channel_swap_is_exit_1(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    swapped = replace(bundle.contract, color="bgr")
    rewrite(bundle, {}, lambda manifest, files: replace(manifest, contract=swapped, files=files))
    code, out, err = cli("verify", bundle.path, "--json", tmp_path / "verify.json")
    assert code == 1
    assert "FAIL" in out
    assert "preprocessing: differing_rows" in err
    assert json.loads((tmp_path / "verify.json").read_text())["passed"] is False


def test_verify_of_a_tampered_bundle_is_exit_2(cli: Cli, bundle: Bundle) -> None:
    (bundle.path / "labels.txt").write_text("cat\n" * 5)
    code, _, err = cli("verify", bundle.path)
    assert code == 2
    assert ": modified" in err
    assert "expected:" in err


def test_an_engine_that_is_not_here_is_exit_3_and_an_unknown_one_exit_2(
    cli: Cli, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeproof_runtime import engines

    reason = engines.Unavailable("openvino is not installed", "pip install openvino")
    missing = classmethod(lambda _: reason)
    monkeypatch.setattr(engines.engine_class("openvino"), "unavailable_reason", missing)
    code, _, err = cli("verify", bundle.path, "--engine", "openvino")
    assert code == 3
    assert "got:      openvino is not installed\n" in err
    assert "fix:      pip install openvino\n" in err
    assert cli("verify", bundle.path, "--engine", "tensorflow")[0] == 2
    for command in (("verify",), ("bench",), ("run", "--source", "synthetic://64x48?frames=2")):
        code, _, err = cli(*command[:1], bundle.path, *command[1:], "--precision", "int8", "--engine", "onnxruntime")
        assert code == 2, "the bundle lacks it, not this machine"
        assert "edgeproof optimize" in err
    assert cli("verify", bundle.path, "--precision", "int8", "--engine", "openvino")[0] == 2


def test_cifar10_on_a_model_of_other_classes_is_refused(
    cli: Cli, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, targets = np.zeros((10, 32, 32, 3), np.uint8), np.arange(10)
    known = LabelledData.from_arrays(pictures, targets, classes=10, name="cifar10")
    monkeypatch.setattr("edgeproof_export.datasets.cifar10", lambda **_: known)
    code, _, err = cli("evaluate", bundle.path, "--data", "cifar10", "--engine", "onnxruntime")
    assert code == 2
    assert "10 classes; not in the model: airplane, automobile" in err


def test_evaluate_reports_accuracy_and_judges_it(cli: Cli, bundle: Bundle, folder: Path, tmp_path: Path) -> None:
    (folder / LABELS[0] / "notes.txt").write_text("no picture")
    (folder / LABELS[0] / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    arguments = ("evaluate", bundle.path, "--data", folder, "--engine", "onnxruntime", "--batch", 4)
    code, out, err = cli(
        *arguments, "--min-top1", "1.0", "--json", tmp_path / "e.json", "--report", tmp_path / "e.html"
    )
    assert code == 0, err
    assert "100.00%" in out
    assert "broken.png" in err
    report = json.loads((tmp_path / "e.json").read_text())
    assert report["accuracy"]["top1"] == 1.0
    assert report["counts"]["frames_classified"] == 12
    assert "<svg" in (tmp_path / "e.html").read_text()


def test_evaluate_with_labels_that_are_wrong_is_exit_1(cli: Cli, bundle: Bundle, folder: Path) -> None:
    shuffled = "".join(f"{label}\n" for label in (*LABELS[1:], LABELS[0])).encode()
    rewrite(bundle, {"labels.txt": shuffled}, lambda manifest, files: replace(manifest, files=files))
    code, _, err = cli("evaluate", bundle.path, "--data", folder, "--engine", "onnxruntime", "--min-top1", "0.9")
    assert code == 1
    assert "labels: differing" in err
    assert "top-1: top1 0" in err


def test_evaluate_holds_the_accuracy_against_pytorchs(cli: Cli, bundle: Bundle, folder: Path) -> None:
    from edgeproof_export.attach import add_evidence
    from edgeproof_runtime.data.dataset import LabelledData

    fingerprint = LabelledData.open(folder, LABELS).fingerprint()
    arguments = ("evaluate", bundle.path, "--data", folder, "--engine", "onnxruntime")
    add_evidence(bundle, "export", {"accuracy": {"torch_correct": 12, "n": 12, "fingerprint": fingerprint}})
    code, out, _ = cli(*arguments)
    assert code == 0
    assert "drop from PyTorch" in out
    wrong = next((folder / LABELS[1]).parent.rglob("*.png"))
    other = next(label for label in LABELS if label != wrong.parent.name)
    wrong.rename(folder / other / wrong.name)
    fingerprint = LabelledData.open(folder, LABELS).fingerprint()
    add_evidence(
        Bundle.open(bundle.path), "export", {"accuracy": {"torch_correct": 12, "n": 12, "fingerprint": fingerprint}}
    )
    code, _, err = cli(*arguments)
    assert code == 1
    assert "drop from PyTorch: drop" in err


def test_numbered_classes_of_another_model_are_remarked(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "many.edge", labels=tuple(f"class {number}" for number in range(12)))
    np.savez(tmp_path / "digits.npz", x_test=np.stack([np.full((9, 9), 7, np.uint8)] * 3), y_test=np.array([0, 1, 2]))
    code, _, err = cli("evaluate", bundle.path, "--data", tmp_path / "digits.npz", "--engine", "onnxruntime")
    assert code == 0
    assert "classes 0 to 2, the model 12" in err


def test_evaluate_without_pictures_is_exit_2(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert cli("evaluate", bundle.path, "--data", tmp_path / "empty")[0] == 2
    assert cli("evaluate", bundle.path, "--data", tmp_path / "nothing")[0] == 2


def test_run_on_a_clip_accounts_for_every_frame(cli: Cli, bundle: Bundle, clip: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    truth.write_text(f"start,end,label\n0,5,{LABELS[0]}|{LABELS[1]}\n5,10,{LABELS[2]}\n")
    code, out, err = cli(
        *("run", bundle.path, "--source", clip, "--engine", "onnxruntime", "--labels-from", truth),
        *("--save", tmp_path / "out.mp4", "--predictions", tmp_path / "out.jsonl", "--json", tmp_path / "run.json"),
    )
    assert code == 0, err
    assert "10 frames in = 10 classified + 0 dropped" in out
    lines = predictions_in(tmp_path / "out.jsonl")
    assert [line["index"] for line in lines] == list(range(10))
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["counts"]["frames_in"] == report["counts"]["frames_classified"] == 10
    assert report["accuracy"]["n"] == 10
    assert report["latency_ms"]["end_to_end"]["p99"] is None
    saved = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert int(saved.get(cv2.CAP_PROP_FRAME_COUNT)) == 10
    saved.release()


def test_the_pipeline_says_what_the_classifier_says(cli: Cli, bundle: Bundle, folder: Path, tmp_path: Path) -> None:
    cli("run", bundle.path, "--source", folder, "--engine", "onnxruntime", "--predictions", tmp_path / "out.jsonl")
    lines = predictions_in(tmp_path / "out.jsonl")
    with Classifier(bundle, "onnxruntime") as classifier:
        for line in lines:
            expected = classifier(cv2.imread(str(folder / line["name"]))).top(1)[0]
            assert line["top"][0]["label"] == expected[0]
            assert line["top"][0]["probability"] == pytest.approx(expected[1], abs=1e-6)


def test_run_on_a_folder_knows_the_labels_and_names_what_it_skipped(
    cli: Cli, bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    (folder / LABELS[0] / "empty.jpg").write_bytes(b"")
    code, out, err = cli(
        *("run", bundle.path, "--source", folder, "--labels-from", "parent", "--engine", "onnxruntime"),
        *("--min-top1", "1", "--json", tmp_path / "run.json"),
    )
    assert code == 0, err
    assert "100.00%" in out
    assert "empty.jpg" in err
    assert json.loads((tmp_path / "run.json").read_text())["counts"]["files_skipped"] == 1


def test_run_below_the_accuracy_asked_for_is_exit_1(cli: Cli, bundle: Bundle, clip: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    with Classifier(bundle, "onnxruntime") as classifier:
        capture = cv2.VideoCapture(str(clip))
        said = {classifier(capture.read()[1].astype(np.uint8)).label for _ in range(10)}
        capture.release()
    never = next(label for label in LABELS if label not in said)
    truth.write_text(f"0,10,{never}\n")
    code, _, err = cli(
        *("run", bundle.path, "--source", clip, "--engine", "onnxruntime", "--labels-from", truth, "--min-top1", "0.5")
    )
    assert code == 1
    assert "top-1" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--source", "missing.mp4"), 2),
        (("--source", "/dev/video97"), 2),
        (("--source", ""), 2),
        (("--source", "clip.mp4", "--policy", "sometimes"), 2),
        (("--source", "clip.mp4", "--min-top1", "0.5"), 2),
        (("--source", "clip.mp4", "--labels-from", "missing.csv"), 2),
        (("--source", "clip.mp4", "--predictions", "/proc/none/x.jsonl"), 2),
        (("--source", "clip.mp4", "--report", "."), 2),
        (("--source", "clip.mp4", "--report", "run.pdf"), 2),
        (("--source", "clip.mp4", "--json", "."), 2),
        (("--source", "clip.mp4", "--save", "clip.mp4"), 2),
        (("--source", "clip.mp4", "--predictions", "./clip.mp4"), 2),
        (("--source", "clip.mp4", "--predictions", "x.jsonl", "--json", "x.jsonl"), 2),
        (("--source", "clip.mp4", "--predictions", "x.jsonl", "--save", "missing/x.mp4"), 2),
        (("--source", "clip.mp4", "--labels-from", "parent"), 2),
        (("--source", "clip.mp4", "--precision", "fp12"), 2),
        (("--source", "clip.mp4", "--precision", "int8"), 2),
        (("--source", "clip.mp4", "--engine", "tensorrt"), 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
@pytest.mark.slow
def test_run_refuses_in_one_message(
    cli: Cli, bundle: Bundle, clip: Path, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    before = sorted(p.name for p in tmp_path.iterdir())
    found, _, err = cli("run", bundle.path, *arguments)
    assert found == code, err
    assert err.startswith("error: ")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == before


def test_run_on_pictures_says_what_they_show(cli: Cli, bundle: Bundle, folder: Path) -> None:
    _, out, _ = cli("run", bundle.path, "--source", folder, "--engine", "onnxruntime")
    for picture in folder.rglob("*.png"):
        assert f"{picture.relative_to(folder)}: {picture.parent.name} " in out


def test_run_on_a_clip_says_what_it_mostly_shows(cli: Cli, bundle: Bundle, clip: Path) -> None:
    assert "most often: " in cli("run", bundle.path, "--source", clip, "--engine", "onnxruntime")[1]


def test_folders_may_be_named_by_class_id(cli: Cli, bundle: Bundle, folder: Path) -> None:
    ids = tuple(f"n{number:08}" for number in range(len(LABELS)))
    content = "".join(f"{name}\n" for name in ids).encode()
    rewrite(
        bundle,
        {"class_ids.txt": content},
        lambda manifest, files: replace(manifest, class_ids="class_ids.txt", files=files),
    )
    for label, name in zip(LABELS, ids, strict=True):
        (folder / label).rename(folder / name)
    arguments = ("--engine", "onnxruntime", "--min-top1", "1")
    code, _, err = cli("run", bundle.path, "--source", folder, "--labels-from", "parent", *arguments)
    assert code == 0, err
    assert cli("evaluate", bundle.path, "--data", folder, *arguments)[0] == 0


def test_a_run_that_decides_nothing_keeps_an_earlier_file(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "keep.jsonl").write_text("precious")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    code, _, _ = cli("run", bundle.path, "--source", tmp_path / "broken.mp4", "--predictions", tmp_path / "keep.jsonl")
    assert code == 2
    assert (tmp_path / "keep.jsonl").read_text() == "precious"


def test_labels_that_look_like_markup_are_labels(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "odd.edge", labels=("[/bold]cat", "[red]dog", ":smile:"))
    _, out, _ = cli("inspect", bundle.path)
    assert "[/bold]cat, [red]dog, :smile:" in out
    cv2.imwrite(str(tmp_path / "[bold]x.png"), frames(1)[0])
    code, out, err = cli("run", bundle.path, "--source", tmp_path / "[bold]x.png", "--engine", "onnxruntime")
    assert code == 0, err
    assert out.startswith("[bold]x.png: ")


@pytest.mark.slow
def test_verify_leaves_out_an_engine_that_cannot_run_the_model(
    cli: Cli, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeproof_runtime import engines

    def refuse(self: object, batch: object) -> None:
        raise InputError("opencv cannot run this")

    monkeypatch.setattr(engines.engine_class("opencv"), "_run", refuse)
    code, out, err = cli("verify", bundle.path)
    assert code == 0, err
    assert "opencv fp32: left out" in err
    assert "parity opencv" not in out
    assert cli("verify", bundle.path, "--engine", "opencv")[0] == 2
    assert cli("run", bundle.path, "--source", bundle.path / "golden/0.png")[0] == 0


@pytest.mark.slow
def test_output_may_be_piped_from_a_terminal(bundle: Bundle, clip: Path) -> None:
    """stderr is a terminal, stdout is not: the status line must not ask stdout for its width."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "edgeproof", "run", str(bundle.path), "--source", str(clip), "--engine", "opencv"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=follower, text=True, check=False, timeout=120)
    os.close(follower)
    os.close(leader)
    assert done.returncode == 0
    assert "10 classified" in done.stdout


def test_inspect_shows_what_is_inside(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    code, out, _ = cli("inspect", bundle.path, "--json", tmp_path / "inspect.json")
    assert code == 0
    for part in ("tiny", "shortest 20 bicubic", "model.onnx", "6 cases", "cat, dog, fish"):
        assert part in out
    assert json.loads((tmp_path / "inspect.json").read_text())["schema"] == "edgeproof.bundle/2"


def test_version(cli: Cli) -> None:
    code, out, _ = cli("--version")
    assert code == 0
    assert out.startswith("edgeproof 0.")
