"""Each benchmark writes its tables into its own part of RESULTS.md, and into nothing else."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from edgeproof_runtime.errors import InputError, UnavailableError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmarks' shared module, with a RESULTS.md of its own."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import common  # type: ignore[import-not-found]

    results = tmp_path / "RESULTS.md"
    results.write_text("# Results\n\nBefore.\n\n<!-- ours -->old\n<!-- /ours -->\n\nAfter, by hand.\n")
    monkeypatch.setattr(common, "RESULTS", results)
    return common


def flags(common: ModuleType, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    common.output_flags(parser)
    return parser.parse_args(words)


def test_a_run_replaces_its_own_part(common: ModuleType, tmp_path: Path) -> None:
    for _ in range(2):  # the second run finds what the first one wrote
        found = common.Findings("ours", flags(common, "--write", "--json", str(tmp_path / "found.json")))
        found.table("Rates", ["who", "frames/s"], [["a|b", 249.96], ["c", None], ["d", 1234.5], ["e", 0.0123]])
        found.say("All counted.")
        found.keep({"rounds": 3}, [{"who": "a|b"}])
    text = common.RESULTS.read_text()
    assert text.startswith("# Results\n\nBefore.\n\n<!-- ours -->\n\n<sub>`python benchmarks/ours.py")
    assert text.endswith("All counted.\n\n<!-- /ours -->\n\nAfter, by hand.\n")
    table = "| who | frames/s |\n|---|---:|\n| a\\|b | 250.0 |\n| c | – |\n| d | 1,234 |\n| e | 0.012 |"
    assert text.count(table) == 1
    assert "old" not in text
    assert "load " in text
    report = json.loads((tmp_path / "found.json").read_text())
    assert report["settings"] == {"rounds": 3}
    assert report["host"]["packages"]["numpy"] in text


def test_nothing_is_measured_for_a_part_that_is_not_there(common: ModuleType) -> None:
    before = common.RESULTS.read_text()
    with pytest.raises(SystemExit, match="no part between <!-- theirs -->"):
        common.Findings("theirs", flags(common, "--write"))
    assert common.RESULTS.read_text() == before


def test_without_the_flag_nothing_is_written(common: ModuleType) -> None:
    before = common.RESULTS.read_text()
    found = common.Findings("ours", flags(common))
    found.table("Rates", ["who"], [["a"]])
    found.keep({}, [])
    assert common.RESULTS.read_text() == before


def test_results_have_a_part_for_each_benchmark_of_make_bench() -> None:
    makefile = (ROOT / "Makefile").read_text()
    written = set(re.findall(r"benchmarks/(\w+)\.py.* --write", makefile))
    named = re.findall(r"^bench (\w+) ", (ROOT / "scripts/bench.sh").read_text(), re.MULTILINE)
    assert len(named) == len(set(named)) >= 13
    for name in named:  # what a machine lacks must not end the others
        assert "run(main)" in (ROOT / f"benchmarks/{name}.py").read_text(), name
    written |= set(named)
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    assert written
    assert written == set(re.findall(r"^<!-- (\w+) -->", text, re.MULTILINE))
    assert written == set(re.findall(r"^<!-- /(\w+) -->", text, re.MULTILINE))


def test_without_our_data_the_demos_clip_is_taken(
    common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "_OUR_CLIP", tmp_path / "ours.mp4")
    parser = argparse.ArgumentParser()
    common.output_flags(parser)
    common.clip_flag(parser, "is made 720p")
    arguments = parser.parse_args([])
    assert arguments.clip == Path("edgeproof-demo/clip.mp4")
    common.Findings("ours", arguments)
    assert "note: ours.mp4 is not here: the demo's clip is taken" in capsys.readouterr().out
    (tmp_path / "ours.mp4").touch()
    parser = argparse.ArgumentParser()
    common.clip_flag(parser)
    assert parser.parse_args([]).clip == tmp_path / "ours.mp4"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UnavailableError("LoadGen: not installed"), 3, "LoadGen: not installed"),
        (FileNotFoundError(2, "No such file or directory", "ffmpeg"), 3, "'ffmpeg'"),
        (subprocess.CalledProcessError(1, ["python", "-m", "pip", "install", "x"]), 3, "packages cannot be installed"),
        (InputError("x.edge: not a bundle"), "error: x.edge: not a bundle", ""),
    ],
)
def test_what_a_machine_lacks_is_a_line(
    common: ModuleType, capsys: pytest.CaptureFixture[str], error: Exception, code: int | str, said: str
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        common.run(main)
    assert caught.value.code == code
    assert said in capsys.readouterr().err
