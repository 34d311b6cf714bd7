"""The extension module against its stub, its oracles in ``tests/reference``, and the golden cases of ctest."""

from __future__ import annotations

import ast
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeproof_runtime
from edgeproof_runtime import _native
from edgeproof_runtime.metrics.latency import summarize
from edgeproof_runtime.system.redact import redact, redact_address, redacted_host, without_credentials
from reference import capture, intervals
from reference import latency as reference_latency
from reference import redact as reference_redact

STUB = Path(edgeproof_runtime.__file__).with_name("_native.pyi")


def stub_functions(body: list[ast.stmt]) -> dict[str, str]:
    """Signature of every function and method that the stub declares, by its qualified name; properties without."""
    found = {}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
            node.decorator_list = []
            found[node.name] = "property" if is_property else ast.unparse(node).partition("\n")[0].rstrip(": .")
        elif isinstance(node, ast.ClassDef):
            found[node.name] = "class"
            found |= {f"{node.name}.{name}": text for name, text in stub_functions(node.body).items()}
    return found


def module_functions(scope: ModuleType | type) -> Iterator[tuple[str, str]]:
    """The same of the module, from the signatures that nanobind keeps."""
    for name, value in vars(scope).items():
        if isinstance(value, type):
            yield name, "class"
            yield from ((f"{name}.{inner}", text) for inner, text in module_functions(value))
        elif isinstance(value, property):
            yield name, "property"
        elif hasattr(value, "__nb_signature__"):
            signature = value.__nb_signature__[0][0]
            yield name, ast.unparse(ast.parse(f"{signature}: ...")).partition("\n")[0].rstrip(": .")


def test_stub_declares_what_the_module_has() -> None:
    assert stub_functions(ast.parse(STUB.read_text()).body) == dict(module_functions(_native))


@given(st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=300))
def test_softmax_equals_its_formula(scores: list[float]) -> None:
    values = np.asarray([scores, scores[::-1]], np.float32)
    expected = np.exp(values.astype(np.float64) - values.max())
    expected /= expected.sum(axis=1, keepdims=True)
    _native.softmax(values)
    np.testing.assert_allclose(values, expected, rtol=2e-5, atol=1e-37)  # float32 keeps 160 to 2e-5


@given(st.lists(st.floats(-3, 3, width=16), max_size=50), st.integers(0, 60))
def test_top_k_equals_a_stable_sort(scores: list[float], k: int) -> None:
    values = np.asarray(scores, np.float32)
    order = np.argsort(-values, kind="stable")[:k]
    assert _native.top_k(values, k) == [(int(i), float(values[i])) for i in order]


def test_other_dtypes_are_not_converted_behind_the_callers_back() -> None:
    with pytest.raises(TypeError):
        _native.softmax(np.zeros((1, 3)))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _native.top_k(np.zeros((2, 3), np.float32), 1)


SCORES = st.lists(st.floats(-4, 4, width=16) | st.just(float("inf")), min_size=1, max_size=30)


@given(st.integers(1, 2**40), st.data())
def test_wilson_equals_its_oracle(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    assert _native.wilson_interval(successes, n) == intervals.wilson_interval(successes, n)


@given(SCORES, SCORES)
def test_areas_equal_their_oracle(good: list[float], defect: list[float]) -> None:
    assert _native.auroc(good, defect) == intervals.auroc(good, defect)
    assert _native.auroc_ci95(good, defect) == intervals.auroc_ci95(good, defect)


def test_an_area_needs_scores_of_both_kinds() -> None:
    with pytest.raises(ValueError, match="both kinds"):
        _native.auroc([], [1.0])


@given(st.lists(st.floats(0, 1e6), max_size=400), st.integers(8, 300))
def test_percentiles_and_distributions_equal_numpys(values: list[float], points: int) -> None:
    sample = np.asarray(values, np.float64)
    assert _native.percentiles(sample) == reference_latency.percentiles(sample)
    assert _native.distribution(sample, points) == reference_latency.distribution(sample, points)


@given(st.floats(0.01, 0.9999))
def test_samples_needed_equal_their_oracle(quantile: float) -> None:
    assert _native.samples_needed(quantile) == reference_latency.samples_needed(quantile)


WORDS = [
    *(
        "rtsp:",
        "http:",
        "csi:",
        "/",
        "//",
        "user",
        ":",
        "@",
        "pw",
        "camera",
        "?",
        "&",
        "=",
        " ",
        "\t",
        "\u00a0",
        "\u3000",
    ),
    *("password", "PASSWD", "token", "user-pw", "api_key", "api-key", "apikey", '"', "'", "!", ",", "ß", "ſecret"),
    *(
        "\ud800",
        "#",
        "[",
        "]",
        ";",
        ")",
        ".",
        "%",
        "\\",
        "\n",
        "554",
        "services",
        "live",
        "series",
        "ch1",
        "12.ts",
        "mqtt://",
        "aB3dE6gH9jK2",
        "abcdefabcdef1234",
        "C:",
    ),
]
REDACTIONS = [
    (redact, reference_redact.redact, "redacted"),
    (redact_address, reference_redact.redact_address, "address"),
    (without_credentials, reference_redact.without_credentials, "name"),
]


@given(st.lists(st.sampled_from(WORDS), max_size=30).map("".join) | st.text(max_size=60))
def test_redaction_equals_its_oracle(text: str) -> None:
    for function, oracle, _ in REDACTIONS:
        assert function(text) == oracle(text)


def test_golden_secrets() -> None:
    for case in golden("redact.json"):
        for function, oracle, key in REDACTIONS:
            if key in case:
                assert function(case["text"]) == case[key] == oracle(case["text"])


@given(
    st.text(st.sampled_from("@/?#:&=;'\"\\[]! ,ab1"), max_size=8),
    st.sampled_from(["", "/x", "/x?a=b", "?mail=a@b", "/x#c", ":554/x"]),
)
def test_no_part_of_a_password_is_shown(middle: str, end: str) -> None:
    address = f"rtsp://user:QZJ1{middle}XWK2@camera{end}"
    shown = [redact_address(address), without_credentials(address), redacted_host(address)]
    if " " not in middle:
        shown += [redact(f"got: {quote}{address}{quote}: cannot open") for quote in ("", "'", '"')]
    for text in shown:
        assert "QZJ1" not in text
        assert "XWK2" not in text


@pytest.mark.parametrize("word", [
    "a", "password", ":/", "://a:b", "://@", "'http://", "http://h:x ", "http://h:x @", "=", " =", "password=",
    '"auth":', "/", "?", "&", "'", "'',", "aB1", "-", "@", "\u00a0", "user:pw@", "http://a/'", "\n'http://",
])  # fmt: skip
def test_redaction_takes_no_time_in_proportion_to_the_square_of_the_text(word: str) -> None:
    text = f"http://{word * ((1 << 18) // len(word))}"
    begin_s = time.process_time()
    for function, _, _ in REDACTIONS:
        function(text)
    assert time.process_time() - begin_s < 8, "some 0.2 s; one search per character takes 40 s and more"


@given(st.text("odxw", max_size=300), st.integers(1, 200) | st.none(), st.booleans())
def test_grabs_are_counted_as_by_the_oracle(grabs: str, frame_count: int | None, live: bool) -> None:
    assert count_grabs(grabs, frame_count, live) == capture.count(grabs, frame_count, live=live)


def count_grabs(grabs: str, frame_count: int | None, live: bool) -> tuple[list[int], list[str]]:
    """The same walk as `capture.count`, by the core."""
    count, indices = _native.GrabCount(frame_count, 10.0), []
    for grab in grabs:
        if grab in "xw":
            if count.failed(9.0 if grab == "w" else 0.0):
                break
        elif (index := count.grabbed(grab == "o")) is not None and grab == "o":
            indices.append(index)
    return indices, count.losses(live)


@given(st.floats(-1e6, 1e8), st.integers(0, 10**17))
def test_stamps_equal_their_oracle(stamp_ms: float, arrived_ns: int) -> None:
    assert _native.stamped_ns(stamp_ms, arrived_ns) == capture.stamped_ns(stamp_ms, arrived_ns)


def golden(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((Path(__file__).resolve().parents[1] / "golden" / name).read_text())
    assert rows
    return rows


@pytest.mark.parametrize("case", golden("damage.json"), ids=lambda case: case["what"])
def test_golden_damage(case: dict[str, Any]) -> None:
    trace, frames = _native.DamageTrace(case["intra_only"]), []
    for word in case["events"].split():
        kind, rest, flagged = word[0], word[1:].rstrip("!"), word.endswith("!")
        if kind in "KPB":
            trace.sent(None if rest == "-" else int(rest), kind == "K", flagged)
        elif kind == "d":
            trace.decoded(int(rest), flagged)
        elif kind in "cx":
            {"c": trace.concealed, "x": trace.undecodable}[kind](int(rest))
        else:
            {"~": trace.lost, ".": trace.finish}[kind]()
        while (frame := trace.next()) is not None:
            frames.append(f"{frame[0]}{frame[1][:1]}")
    assert " ".join(frames) == case["frames"]


def test_golden_captures_stamps_and_intervals() -> None:
    for case in golden("captures.json"):
        found = count_grabs(case["grabs"], case["frame_count"], case["live"])
        assert found == (case["indices"], case["losses"])
    for case in golden("stamps.json"):
        assert _native.stamped_ns(case["stamp_ms"], case["arrived_ns"]) == case["captured_ns"]
    for case in golden("intervals.json"):
        if "wilson" in case:
            assert list(_native.wilson_interval(case["successes"], case["n"])) == case["wilson"]
        else:
            assert _native.auroc(case["good"], case["defect"]) == case["auroc"]
            assert list(_native.auroc_ci95(case["good"], case["defect"])) == case["ci95"]


def test_golden_quotas(tmp_path: Path) -> None:
    for number, case in enumerate(golden("cgroups.json")):
        root = tmp_path / str(number)
        for name, content in case["files"].items():
            path = root / name.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        assert _native.within_cpu_quota(case["cores"], str(root)) == case["usable"], case["files"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_the_affinity_limits_the_usable_cores() -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert _native.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, cores)
    assert 1 <= _native.usable_cores() <= len(cores)


def test_golden_latencies_are_what_the_python_recorder_makes_of_them() -> None:
    for case in json.loads((Path(__file__).resolve().parents[1] / "golden" / "latency.json").read_text()):
        assert summarize(case["values_ms"]).to_json() == case["summary"]  # ctest holds the core to the same file
