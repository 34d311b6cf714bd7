"""`edgeproof compile`: what it prints, writes and exits with."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bundles import make_bundle
from edgeproof.cli import main
from edgeproof_export.attach import Addition, attach
from edgeproof_runtime.bundle.attachments import EngineFacts
from edgeproof_runtime.bundle.reader import Bundle

Cli = Callable[..., tuple[int, str, str]]
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx-cu13 is not installed"
)
RTX = ("--target", "tensorrt-rtx", "--gpu", "sm86,sm120")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("compile") / "tiny.edge")


@pytest.fixture
def bundle(made: Bundle, tmp_path: Path) -> Path:
    return shutil.copytree(made.path, tmp_path / "tiny.edge")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bundle: Path) -> Cli:
    """Runs ``edgeproof compile BUNDLE ...``: (exit code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["edgeproof", "compile", str(bundle), *(str(a) for a in arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return int(ended.value.code or 0), captured.out, captured.err

    return call


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_the_report_holds_the_gate_of_an_engine_that_was_replayed(cli: Cli, tmp_path: Path) -> None:
    report = tmp_path / "compile.json"
    code, _, error = cli("--target", "openvino", "--json", report)
    assert code == 0, error
    (built,) = json.loads(report.read_text(encoding="utf-8"))["engines"]
    assert built["golden"]["name"] == "parity openvino fp32"
    assert built["golden"]["passed"] is True


@needs_rtx
def test_builds_then_finds_then_rebuilds_and_says_why(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    code, out, _ = cli(*RTX, "--json", tmp_path / "built.json")
    assert code == 0
    assert out.startswith("built ")
    assert "compute capability 8.6, 12.0" in out
    (engine,) = json.loads((tmp_path / "built.json").read_text())["engines"]
    assert engine["cached"] is False
    assert [entry.key for entry in Bundle.open(bundle).engines()] == [engine["engine"]["key"]]
    code, out, err = cli(*RTX)
    assert (code, err) == (0, "")
    assert out.startswith("found ")
    code, out, err = cli(*RTX, "--batch", "1,2,4")
    assert code == 0
    assert out.startswith("built ")
    assert "rebuilt because profile: batch 1..32" in err
    assert "is now batch 1..4" in err
    Bundle.open(bundle)


@needs_rtx
def test_an_engine_whose_record_cannot_be_read_is_replaced(cli: Cli, bundle: Path) -> None:
    assert cli(*RTX)[0] == 0
    opened = Bundle.open(bundle)
    (entry,) = opened.engines()
    info = opened.read(entry.info).replace(b"edgeproof.engine/1", b"edgeproof.engine/0")
    facts = EngineFacts(entry.target, entry.precision, opened.sha256("model.onnx"))
    files = {entry.path: opened.read(entry.path), entry.info: info}
    attach(opened, [Addition("engine", entry.key, files, facts)])
    code, out, _ = cli(*RTX, "--optimization-level", "1")
    assert code == 0
    assert out.startswith("built ")
    assert len(Bundle.open(bundle).engines()) == 1
    assert Bundle.open(bundle).engines()[0].key != entry.key


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--target", "abacus"), 2, "--target: unknown"),
        (("--target", "onnxruntime"), 2, "compiles the model when loading it"),
        (("--target", "openvino", "--gpu", "sm86"), 2, "supported by TensorRT targets only"),
        ((*RTX, "--batch", "8,1"), 2, "not batch bounds"),
        (("--target", "tensorrt-rtx", "--gpu", "rtx4090"), 2, "not a compute capability"),
        ((*RTX, "--workspace", "0"), 2, "size in MiB"),
        ((*RTX, "--hardware-compatibility", "all"), 2, "--hardware-compatibility: unknown"),
        ((*RTX, "--precision", "fp16"), 2, "no fp16 model"),
    ],
)
def test_bad_usage_is_a_message_and_a_code(cli: Cli, arguments: tuple[str, ...], code: int, words: str) -> None:
    got, out, err = cli(*arguments)
    assert got == code
    assert words in err
    assert out == ""


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_plain_tensorrt_says_how_to_get_it(cli: Cli) -> None:
    code, _, err = cli("--target", "tensorrt")
    assert code == 3
    assert "tensorrt is not installed" in err
    assert "JetPack" in err
    assert "--target tensorrt-rtx" in err


def test_help_shows_examples(cli: Cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    assert "edgeproof compile model.edge --target tensorrt --precision fp16" in out
