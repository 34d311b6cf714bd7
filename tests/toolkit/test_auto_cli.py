"""What a person sees of `auto`: the kept table in `inspect`, and why a precision is not taken."""

from __future__ import annotations

from pathlib import Path

from bundles import make_bundle
from command_line import Cli
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.selection.choices import Choice, Scope, keep_choice


def test_inspect_shows_the_table_and_says_what_does_not_pay(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge")
    rows = (
        EngineRow("openvino", "2026.4", 6.1, True, None, True, "fp32", 2),
        EngineRow("onnxruntime", "1.32", 7.9, True, None, False, "int8", 1),
        EngineRow("opencv", "5.0", None, False, "missed its bound: cosine", False, "fp32", 2),
    )
    choice = Choice.made(Scope(threads=2), rows)
    assert "measured on this machine" not in cli("inspect", bundle.path)[1]
    keep_choice(bundle, choice)
    code, out, _ = cli("inspect", bundle.path)
    assert code == 0
    assert f"measured on this machine ({choice.machine}) at {choice.measured_at}, threads 2:" in out
    for part in ("6.10 ms", "7.90 ms", "missed its bound: cosine", "chosen"):
        assert part in out
    assert "int8 is not worth it here: 7.90 ms (onnxruntime) against 6.10 ms in fp32 (openvino)" in out


def test_evaluate_says_so_too_and_keeps_the_table(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge")
    rows = (
        EngineRow("opencv", "5.0", 6.1, True, None, True, "fp32", 1),
        EngineRow("onnxruntime", "1.32", 7.9, True, None, False, "int8", 1),
    )
    keep_choice(bundle, Choice.made(Scope(), rows))
    pictures = tmp_path / "data"
    for case, entry in zip(bundle.golden(), bundle.manifest.golden, strict=True):
        (pictures / str(case.label)).mkdir(parents=True, exist_ok=True)
        (pictures / str(case.label) / Path(entry.frame).name).write_bytes((bundle.path / entry.frame).read_bytes())
    code, out, err = cli("evaluate", bundle.path, "--data", pictures, "--report", tmp_path / "e.html")
    assert code == 0, err
    assert out.startswith("opencv")
    assert "int8 is not worth it here" in err
    page = (tmp_path / "e.html").read_text()
    assert "int8 is not worth it here" in page
    assert "fp32, 1 thread" in page
