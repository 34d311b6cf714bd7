"""Reading attachments: golden bundles, which the C++ suite reads too, and bundles that writers change meanwhile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bundles import make_bundle
from edgeproof_export.attach import Addition, add_evidence, attach
from edgeproof_runtime.bundle import contents
from edgeproof_runtime.bundle.attachments import Scan
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.signatures import Signed
from edgeproof_runtime.errors import BundleError, NotInBundleError

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).resolve().parents[2] / "golden" / "attachments.json").read_text("utf-8")
)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "tiny.edge")


def with_int8(bundle: Bundle, content: bytes = b"int8") -> Bundle:
    return attach(bundle, [Addition("precision", "int8", {"model.int8.onnx": content})])


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["what"])
def test_golden_attachments(case: dict[str, Any], tmp_path: Path) -> None:
    for name, content in case["files"].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    bundle = Bundle.open(tmp_path)
    assert list(bundle.models) == case["models"]
    assert [entry.key for entry in bundle.engines()] == case["engines"]
    assert list(bundle.evidence) == case["evidence"]
    assert len(bundle.left_out) == len(case["left_out"]), bundle.left_out
    for kind, name, says in case["left_out"]:
        found = [part.reason for part in bundle.left_out if (part.kind or "", part.name or "") == (kind, name)]
        assert any(says in reason for reason in found), bundle.left_out


def test_asking_for_what_was_left_out_says_why(bundle: Bundle) -> None:
    with_int8(bundle)
    bundle.locate("model.int8.onnx").write_bytes(b"int9")
    opened = Bundle.open(bundle.path)
    assert opened.precisions == ("fp32",)
    with pytest.raises(NotInBundleError, match=r"int8 was left out[\s\S]*modified"):
        opened.artifact("int8")


def test_evidence_that_is_missing_leaves_the_model(bundle: Bundle) -> None:
    add_evidence(bundle, "bench", {"n": 1})
    bundle.locate("evidence/bench.json").unlink()
    opened = Bundle.open(bundle.path)
    assert opened.evidence == ()
    assert opened.read_evidence("bench") is None
    assert "evidence bench left out" in opened.left_out[0].note
    assert opened.artifact().path.is_file()


def test_an_opened_bundle_reads_the_new_version_of_what_was_superseded(bundle: Bundle) -> None:
    add_evidence(bundle, "bench", {"n": 1})
    reader = Bundle.open(bundle.path)
    add_evidence(bundle, "bench", {"n": 2})
    assert reader.read_evidence("bench") == {"n": 2}


def test_what_was_removed_meanwhile_is_named(bundle: Bundle) -> None:
    with_int8(bundle)
    reader = Bundle.open(bundle.path)
    attach(bundle, [], drop=lambda _bundle: [("precision", "int8")])
    with pytest.raises(BundleError, match=r"no model\.int8\.onnx"):
        reader.read("model.int8.onnx")


def test_a_reader_lists_the_folder_again_when_writers_change_it(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_int8(bundle)
    scan, left = contents.scan, [3]
    writer = Bundle.open(bundle.path)

    def overtaken(root: Path, digest: str) -> Scan:
        found = scan(root, digest)
        if left[0] > 0:  # after the folder was listed, before the files are read
            turn, left[0] = left[0], 0
            with_int8(writer, f"int8 {turn}".encode())
            left[0] = turn - 1
        return found

    monkeypatch.setattr("edgeproof_runtime.bundle.contents.scan", overtaken)
    opened = Bundle.open(bundle.path)
    assert opened.left_out == ()
    assert opened.precisions == ("fp32", "int8")


def test_a_bundle_that_is_replaced_while_it_is_opened_is_read_again(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_bundle(tmp_path / "other.edge", labels=("a", "b", "c"))
    opened = Bundle._opened
    turns = iter(range(1))

    def overtaken(folder: Path, raw: bytes, signed: Signed | None) -> Bundle:
        if next(turns, None) is not None:
            shutil.rmtree(bundle.path)
            shutil.copytree(other.path, bundle.path)
        return opened(folder, raw, signed)

    monkeypatch.setattr(Bundle, "_opened", overtaken)
    assert Bundle.open(bundle.path).labels == ("a", "b", "c")


def test_a_bundle_whose_replacement_was_interrupted_is_moved_back(bundle: Bundle, tmp_path: Path) -> None:
    aside = tmp_path / ".tiny.edge.abc.old.partial"
    aside.mkdir()
    bundle.path.rename(aside / "tiny.edge")
    assert Bundle.open(bundle.path).manifest == bundle.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.edge"]
