"""`edgeproof bench` and `edgeproof compare` as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import evidence_of, make_bundle
from command_line import Cli
from edgeproof.report import write_html
from edgeproof.report.headline import tiles

QUICK = ("--duration", "0.5", "--driver", "builtin")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bench") / "tiny.edge").path


@pytest.mark.slow
def test_bench_keeps_its_evidence_and_writes_its_reports(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    arguments = ("--engine", "opencv,onnxruntime", "--json", "b.json", "--report", "b.html", *QUICK)
    code, out, _ = cli("bench", bundle, *arguments)
    assert code == 0
    assert "opencv fp32" in out
    assert "null fp32" in out
    assert "4 of 4 gates passed" in out
    document = json.loads((tmp_path / "b.json").read_text())
    assert document["kind"] == "bench"
    assert [one["name"] for one in document["bench"]["configurations"]] == ["opencv fp32", "onnxruntime fp32"]
    assert evidence_of(bundle, "bench")["bench"]["scenario"] == "single-stream"
    page = (tmp_path / "b.html").read_text()
    for text in ("Configurations side by side", "How much latency varies", "Over time", "does nothing"):
        assert text in page


@pytest.mark.slow
def test_a_bundle_that_cannot_be_written_is_benchmarked_all_the_same(
    cli: Cli, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeproof_runtime.errors import InputError

    def refuse(*_: Any, **__: Any) -> None:
        raise InputError("tiny.edge cannot be written", got="Read-only file system")

    monkeypatch.setattr("edgeproof_export.attach.add_evidence", refuse)
    code, _, err = cli("bench", bundle, "--engine", "opencv", *QUICK)
    assert code == 0
    assert "not stored in the bundle" in err


@pytest.mark.slow
def test_what_should_i_use(cli: Cli, bundle: Path) -> None:
    chosen = ("--engine", "onnxruntime", "--threads", "1")
    wanted = ("--target-fps", "1", "--max-latency-ms", "10000")
    code, out, _ = cli("bench", bundle, *chosen, "--streams", "1,2", *wanted, *QUICK)
    assert code == 0
    assert "use onnxruntime fp32" in out
    code, out, err = cli("bench", bundle, *chosen, "--streams", "1", "--max-latency-ms", "0.001", *QUICK)
    assert code == 1
    assert "no measured configuration meets the target" in out
    assert "wanted" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scenario", "sprint"), "--scenario: unknown"),
        (("--scenario", "server"), "--target-qps"),
        (("--scenario", "multi-stream", "--samples-per-query", "1000000000"), "--samples-per-query: too many"),
        (("--target-qps", "5"), "require --scenario server"),
        (("--threads", "two"), "integers"),
        (("--streams", "0"), "integers"),
        (("--driver", "horse"), "--driver: unknown"),
        (("--driver", "loadgen", "--batch", "2"), "one sample at a time"),
        (("--engine", "abacus"), "unknown engine"),
        (("--precision", "fp3"), "unknown precision"),
        (("--import-trtexec", "absent.json"), "cannot be read"),
    ],
)
def test_bad_usage_is_one_message(cli: Cli, bundle: Path, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = cli("bench", bundle, *arguments)
    assert code == 2
    assert said in err


def test_bench_needs_a_bundle_or_times(cli: Cli) -> None:
    code, _, err = cli("bench")
    assert code == 2
    assert "BUNDLE: missing" in err


def test_trtexecs_times_become_a_report(cli: Cli, tmp_path: Path) -> None:
    names = (
        "startEnqMs",
        "endEnqMs",
        "startH2dMs",
        "endH2dMs",
        "startComputeMs",
        "endComputeMs",
        "startD2hMs",
        "endD2hMs",
    )
    query = {**dict.fromkeys(names, 0.0), "endD2hMs": 1.0, "h2dMs": 0, "computeMs": 1.0, "d2hMs": 0, "latencyMs": 1.0}
    (tmp_path / "times.json").write_text(json.dumps([query] * 30))
    code, out, err = cli("bench", "--import-trtexec", "times.json", "--json", "t.json", "--report", "t.html")
    assert code == 0
    assert "trtexec" in out
    assert "does not check outputs" in err
    assert "exclude copies to and from the GPU" in err
    assert "GPU compute time" in (tmp_path / "t.html").read_text()
    (imported,) = json.loads((tmp_path / "t.json").read_text())["bench"]["configurations"]
    assert imported["cpu_ms_per_sample"] is None
    assert set(imported["blocks"]["cpu_ms_per_sample"]) == {None}
    assert not imported["warm_up"]["stable"]


@pytest.mark.serial
def test_a_fast_wrong_engine_is_not_the_chosen_one(
    cli: Cli, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeproof_runtime.engines.opencv import OpenCvEngine

    def lying(self: OpenCvEngine, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.zeros((len(batch), *self.artifact.outputs[0].shape), np.float32),)

    monkeypatch.setattr(OpenCvEngine, "_run", lying)
    code, _, _ = cli("bench", bundle, "--engine", "opencv,onnxruntime", "--json", "w.json", *QUICK)
    assert code == 1
    document = json.loads((tmp_path / "w.json").read_text())
    assert "onnxruntime fp32" in {tile.detail for tile in tiles(document)}
    assert "opencv fp32" not in {tile.detail for tile in tiles(document)}
    rows = {row["name"]: row for row in document["engines"]}
    assert rows["opencv fp32"]["median_ms"] < rows["onnxruntime fp32"]["median_ms"]
    assert [name for name, row in rows.items() if row["chosen"]] == ["onnxruntime fp32"]


@pytest.fixture(scope="module")
def reports(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same figures twice, quiet and steady, so that only what a test changes differs."""
    from edgeproof_runtime.bench import BenchOptions, bench_bundle, configurations
    from edgeproof_runtime.bundle.reader import Bundle
    from edgeproof_runtime.engines.machine import host_facts
    from edgeproof_runtime.evidence.report import BundleFacts, Report
    from edgeproof_runtime.measure import Plan

    opened = Bundle.open(bundle)
    plan = Plan(turns=12, block_ms=2, untimed_ms=0, warm_up_s=0.05)
    record, gates, _ = bench_bundle(
        opened, BenchOptions(configurations=configurations(["opencv"], ["fp32"]), plan=plan)
    )
    bench = record.to_json()
    bench["conditions"]["other_cores"] = [0.0] * 12
    for one in (*bench["yardsticks"], bench["configurations"][0]):
        one["blocks"]["median_ms"] = [1.0 + 0.001 * i for i in range(12)]
    folder = tmp_path_factory.mktemp("reports")
    facts = BundleFacts.of(opened)
    Report(kind="bench", command="", host=host_facts(), bundle=facts, gates=gates, bench=bench).write(
        folder / "old.json"
    )
    return folder


def changed(reports: Path, times: float = 1.0, **host: Any) -> Path:
    document = json.loads((reports / "old.json").read_text())
    blocks = document["bench"]["configurations"][0]["blocks"]
    blocks["median_ms"] = [times * ms for ms in blocks["median_ms"]]
    document["host"]["cpu"].update(host)
    (reports / "new.json").write_text(json.dumps(document))
    return reports / "new.json"


def test_compare_passes_what_is_alike(cli: Cli, reports: Path) -> None:
    code, out, _ = cli("compare", reports / "old.json", changed(reports), "--json", "c.json")
    assert code == 0
    assert "| opencv fp32 |" in out
    assert out.splitlines()[1].startswith("|---")
    comparison = json.loads(Path("c.json").read_text())
    assert comparison["regressions"] == []
    assert comparison["pairs"][0]["verdict"] == "same"


def test_compare_fails_on_a_regression(cli: Cli, reports: Path) -> None:
    code, out, err = cli("compare", reports / "old.json", changed(reports, 1.1))
    assert code == 1
    assert "slower" in out
    assert "opencv fp32: takes 1.100 times as long" in err
    assert cli("compare", reports / "old.json", changed(reports, 1.1), "--max-slowdown", "20%")[0] == 0


def test_compare_refuses_another_machine(cli: Cli, reports: Path) -> None:
    new = changed(reports, model="another")
    code, _, err = cli("compare", reports / "old.json", new)
    assert code == 2
    assert "another" in err
    assert cli("compare", reports / "old.json", new, "--force")[0] == 0


def test_compare_says_what_is_no_report(cli: Cli, reports: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    for bad in ("x.json", "absent.json"):
        code, _, err = cli("compare", bad, reports / "old.json")
        assert code == 2
        assert bad in err
    assert cli("compare", reports / "old.json", reports / "old.json", "--max-slowdown", "much")[0] == 2


def test_a_bench_report_read_back_is_shown(reports: Path, tmp_path: Path) -> None:
    write_html(json.loads((reports / "old.json").read_text()), tmp_path / "back.html")
    assert "Configurations side by side" in (tmp_path / "back.html").read_text()
