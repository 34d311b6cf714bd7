"""Bundles are whole or refused, and writing one leaves nothing half done."""

from __future__ import annotations

import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import CONTRACT, LABELS, make_bundle, rewrite
from edgeproof_export.attach import add_evidence
from edgeproof_export.bundle import new_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import BundleError, InputError, NotInBundleError
from manifests import ENGINE, GOLDEN, OUTPUT, WRONG, edit


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "tiny.edge")


def test_what_was_written_is_read(bundle: Bundle) -> None:
    assert bundle.contract == CONTRACT
    assert bundle.labels == LABELS
    assert bundle.precisions == ("fp32",)
    cases = list(bundle.golden())
    assert len(cases) == 6
    assert all(case.tensor.shape == (3, 16, 16) and case.outputs[0].shape == (5,) for case in cases)
    assert bundle.artifact(max_batch=2).max_batch == 2


def test_a_copied_bundle_is_a_bundle(bundle: Bundle, tmp_path: Path) -> None:
    bundle.path.rename(tmp_path / "elsewhere.edge")
    assert Bundle.open(tmp_path / "elsewhere.edge").labels == LABELS


@pytest.mark.parametrize("victim", ["model.onnx", "labels.txt", "golden/0.png", "golden/0.input.npy"])
def test_any_changed_file_is_refused(bundle: Bundle, victim: str) -> None:
    path = bundle.path / victim
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r": modified[\s\S]*sha256"):
        Bundle.open(bundle.path).check()
    path.write_bytes(content[:-1])
    with pytest.raises(BundleError, match=r": modified[\s\S]*bytes"):
        Bundle.open(bundle.path).check()
    path.unlink()
    with pytest.raises(BundleError, match="file missing"):
        Bundle.open(bundle.path).check()


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_manifest_is_refused(bundle: Bundle, changes: dict[str, Any], message: str) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleError, match=message):
        Bundle.open(bundle.path)


def test_the_entries_that_are_broken_above_are_sound_when_whole(bundle: Bundle) -> None:
    edit(bundle, outputs=[OUTPUT], golden=[GOLDEN], engines=[ENGINE])
    assert Bundle.open(bundle.path).labels == LABELS


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema": 1}', "[" * 100_000])
def test_a_manifest_that_is_none_is_refused(bundle: Bundle, content: str) -> None:
    (bundle.path / "bundle.json").write_text(content)
    with pytest.raises(BundleError):
        Bundle.open(bundle.path)


def test_a_link_out_of_the_bundle_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / "model.onnx").rename(tmp_path / "model.onnx")
    (bundle.path / "model.onnx").symlink_to(tmp_path / "model.onnx")
    with pytest.raises(BundleError, match="leads outside"):
        Bundle.open(bundle.path)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=": not a bundle"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match="no such folder"):
        Bundle.open(tmp_path / "nothing.edge")


def test_labels_must_fit_the_outputs(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge")
    short = rewrite(bundle, {"labels.txt": b"cat\n"}, lambda manifest, files: replace(manifest, files=files))
    with pytest.raises(BundleError, match="does not match the model"):
        _ = short.labels


def test_a_precision_that_is_not_there_says_how_to_get_it(bundle: Bundle) -> None:
    with pytest.raises(NotInBundleError, match="edgeproof optimize"):
        bundle.artifact("int8")
    with pytest.raises(InputError, match="outside the contract's bounds"):
        bundle.artifact(max_batch=1000)


def test_evidence_is_added_and_replaced(bundle: Bundle) -> None:
    add_evidence(bundle, "bench", {"n": 1})
    again = add_evidence(Bundle.open(bundle.path), "bench", {"n": 2})
    assert again.evidence == ("evidence/bench.json",)
    assert Bundle.open(bundle.path).read_evidence("bench") == {"n": 2}
    assert len(list((bundle.path / "attachments").iterdir())) == 2  # the record and its file, nothing of the first
    with pytest.raises(BundleError, match="not finite"):
        add_evidence(bundle, "bench", {"n": float("nan")})


def test_a_failed_export_leaves_nothing_and_keeps_the_old_bundle(bundle: Bundle, tmp_path: Path) -> None:
    before = (bundle.path / "bundle.json").read_bytes()
    writing = new_bundle(bundle.path, force=True)
    folder = writing.__enter__()
    (folder / "model.onnx").write_bytes(b"half")
    with pytest.raises(BundleError, match=": not a bundle"):
        writing.__exit__(None, None, None)
    assert (bundle.path / "bundle.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.edge"]


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("failure", [OSError("No space left on device"), KeyboardInterrupt()])
def test_the_old_bundle_stays_when_the_new_one_cannot_take_its_place(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, exchanges: bool
) -> None:
    before = Bundle.open(bundle.path).manifest
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial") and target == bundle.path:
            raise failure
        return rename(self, target)

    def exchanging(_one: Path, _other: Path) -> bool:
        if exchanges:
            raise failure
        return False

    writing = new_bundle(bundle.path, force=True)
    shutil.copytree(bundle.path, writing.__enter__(), dirs_exist_ok=True)
    monkeypatch.setattr(Path, "rename", failing)
    monkeypatch.setattr("edgeproof_export.bundle.exchange", exchanging)
    with pytest.raises(InputError if isinstance(failure, OSError) else KeyboardInterrupt):
        writing.__exit__(None, None, None)
    assert Bundle.open(bundle.path).manifest == before
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.edge"]


def test_a_bundle_that_appears_meanwhile_is_not_replaced_without_force(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "new.edge"
    writing = new_bundle(out)
    shutil.copytree(bundle.path, writing.__enter__(), dirs_exist_ok=True)
    shutil.copytree(bundle.path, out)
    (out / "theirs").touch()
    with pytest.raises(InputError, match="cannot be written"):
        writing.__exit__(None, None, None)
    assert (out / "theirs").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.edge", "tiny.edge"]


def test_an_existing_place_needs_force_and_must_be_a_bundle(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--force"), new_bundle(bundle.path):
        pass
    (tmp_path / "precious.edge").mkdir()
    with pytest.raises(InputError, match="not a bundle"), new_bundle(tmp_path / "precious.edge", force=True):
        pass
    for out, named in ((tmp_path / "model.v2", tmp_path / "model.v2.edge"), (Path(), Path("model.edge"))):
        with pytest.raises(InputError, match=r"must end in \.edge") as caught, new_bundle(out):
            pass
        assert caught.value.fix == f"--out {named}"


def test_a_forced_export_replaces_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other.edge", labels=("a", "b", "c"))
    with new_bundle(bundle.path, force=True) as folder:
        for source in other.path.rglob("*"):
            target = folder / source.relative_to(other.path)
            target.mkdir(exist_ok=True) if source.is_dir() else target.write_bytes(source.read_bytes())
    assert Bundle.open(bundle.path).labels == ("a", "b", "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.edge", "tiny.edge"]


def test_golden_arrays_are_never_unpickled(bundle: Bundle) -> None:
    np.save(bundle.path / "golden/0.input.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    content = (bundle.path / "golden/0.input.npy").read_bytes()
    rewrite(bundle, {"golden/0.input.npy": content}, lambda manifest, files: replace(manifest, files=files))
    with pytest.raises(BundleError, match="unsupported dtype"):
        list(Bundle.open(bundle.path).golden())


def test_tensorrt_gets_the_shape_of_int8_that_it_takes(bundle: Bundle) -> None:
    fp32 = bundle.manifest.models["fp32"]
    both = replace(bundle.manifest, models={"fp32": fp32, "int8": fp32, "int8-tensorrt": "golden/0.png"})
    held = Bundle(bundle.path, both)
    assert held.precisions == ("fp32", "int8")
    assert held.artifact("int8", int8_shape="cpu").path.name == fp32
    assert held.artifact("int8", int8_shape="tensorrt").path.name == "0.png"
    assert held.artifact("fp32", int8_shape="tensorrt").path.name == fp32
    only = Bundle(bundle.path, replace(both, models={"fp32": fp32, "int8-tensorrt": "golden/0.png"}))
    assert only.precisions == ("fp32",)
    with pytest.raises(NotInBundleError, match="no int8 model"):
        only.artifact("int8")


def test_a_label_may_hold_what_breaks_lines_elsewhere(bundle: Bundle) -> None:
    labels = ("a\u2028b", "c\x85d", "e\x0bf", "g\u2029", "h\r")
    content = "".join(f"{label}\n" for label in labels).encode()
    rewrite(bundle, {"labels.txt": content}, lambda manifest, files: replace(manifest, files=files))
    assert Bundle.open(bundle.path).labels == ("a\u2028b", "c\x85d", "e\x0bf", "g\u2029", "h")


PNG_BEGIN = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.txt", b"x" * 257 + b"\nb\nc\nd\ne\n", "too long"),
        ("labels.txt", b"\xff\nb\nc\nd\ne\n", "not UTF-8"),
        (
            "golden/0.png",
            PNG_BEGIN + struct.pack(">II", 1 << 20, 1 << 20) + bytes(40),
            "too large",
        ),
        ("golden/0.png", b"\xff\xd8\xff\xe0" + bytes(40), "not a PNG file"),
        ("golden/0.input.npy", b"\x93NUMPY\x01\x00", "damaged"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_decoded(
    bundle: Bundle, name: str, content: bytes, message: str
) -> None:
    rewrite(bundle, {name: content}, lambda manifest, files: replace(manifest, files=files))
    opened = Bundle.open(bundle.path)
    with pytest.raises(InputError, match=message):
        _ = opened.labels, list(opened.golden())


def test_names_and_outputs_are_bounded(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="is too long"):
        replace(bundle.manifest, name="n" * 257)
    with pytest.raises(BundleError, match="output too large"):
        replace(bundle.manifest.outputs[0], shape=(1 << 20, 1 << 20))
    with pytest.raises(BundleError, match="too many golden cases"):
        replace(bundle.manifest, golden=bundle.manifest.golden * 1000)
