"""Compiled engines are code: only those of this machine are deserialised, or those that are trusted by their hash."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from bundles import make_bundle
from edgeproof_export.compile import compile_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.trust import VARIABLE, is_trusted, require_trusted, trust
from edgeproof_runtime.engines.openvino import OpenVinoEngine
from edgeproof_runtime.errors import InputError, NotInBundleError, UnavailableError
from edgeproof_runtime.selection.auto import artifact_for
from edgeproof_runtime.selection.compiled import trust_engines

DIGEST = hashlib.sha256(b"a plan").hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "cache"


def test_an_engine_is_trusted_once_it_is_recorded(cache: Path) -> None:
    assert not is_trusted(DIGEST)
    with pytest.raises(UnavailableError, match="not compiled on this machine") as caught:
        require_trusted(Path("model.plan"), DIGEST, "tensorrt")
    assert "--force" in str(caught.value.fix)
    assert "--trust" in str(caught.value.fix)
    assert DIGEST in str(caught.value.got)
    trust(DIGEST, "built here")
    require_trusted(Path("model.plan"), DIGEST, "tensorrt")
    assert not is_trusted("0" * 64)
    (record,) = (cache / "trusted-engines").iterdir()
    for damage in ("", "{}", '{"schema": "edgeproof.trusted-engine/1", "sha256": "0"}'):
        record.write_text(damage)
        assert not is_trusted(DIGEST)


def test_a_record_that_others_can_write_counts_for_nothing(cache: Path) -> None:
    trust(DIGEST, "built here")
    (record,) = (cache / "trusted-engines").iterdir()
    record.chmod(0o666)
    assert not is_trusted(DIGEST)


def test_the_environment_names_trusted_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (DIGEST, f"{'0' * 64},{DIGEST}", f"{'0' * 64}, {DIGEST}\n"):
        monkeypatch.setenv(VARIABLE, text)
        assert is_trusted(DIGEST)
    monkeypatch.setenv(VARIABLE, DIGEST[:-1])
    assert not is_trusted(DIGEST)
    assert not is_trusted("")


def test_a_cache_that_cannot_be_written_is_a_warning(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.write_text("a file")
    with caplog.at_level(logging.WARNING, "edgeproof.engines"):
        trust(DIGEST, "built here")
    assert f"{VARIABLE}={DIGEST}" in caplog.text


def compiled_for(bundle: Bundle) -> dict[str, str]:
    artifact = replace(artifact_for(bundle, "openvino", "fp32", max_batch=1))
    with OpenVinoEngine(artifact) as engine:
        return engine.describe().details


def test_a_blob_of_another_machine_is_compiled_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = OpenVinoEngine.unavailable_reason()
    if reason is not None:
        pytest.skip(str(reason))
    bundle = compile_bundle(make_bundle(tmp_path / "tiny.edge"), "openvino").bundle
    assert "not compiled" not in compiled_for(bundle)["compiled"]
    assert compile_bundle(bundle, "openvino").cached
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "another machine's"))
    assert "was not compiled on this machine" in compiled_for(bundle)["compiled"]
    (sha256,) = trust_engines(bundle, "openvino").values()
    assert is_trusted(sha256)
    assert "not compiled" not in compiled_for(bundle)["compiled"]
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "a third machine's"))
    assert not compile_bundle(bundle, "openvino").cached, "an engine that would not be loaded is built"
    with pytest.raises(NotInBundleError, match="no engine for tensorrt"):
        trust_engines(bundle, "tensorrt")
    with pytest.raises(InputError, match="unknown target"):
        trust_engines(bundle, "abacus")
