"""The remote gate: `verify --url` and `evaluate --url` against `edgeproof serve` and a server of Triton's shape.

`make check-triton` asks a real Triton, over HTTP and gRPC.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import edgeproof
from bundles import (
    make_band_bundle,
    make_bundle,
    make_defect_bundle,
    make_generator_bundle,
    make_multilabel_bundle,
    rewrite,
    tiny_onnx,
    write_sorted,
)
from command_line import Cli
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import EdgeproofError, InputError, UnavailableError
from serving import serving
from triton_backend import backend_model
from triton_like import handler, listening, triton_like

MAKERS: dict[str, Callable[[Path], Bundle]] = {
    "classify": make_bundle,
    "multilabel": make_multilabel_bundle,
    "anomaly": make_defect_bundle,
    "bands": make_band_bundle,
}


@pytest.mark.parametrize("image", ["encoded", "frame"])
@pytest.mark.parametrize("kind", MAKERS)
def test_every_hop_of_a_server_with_preprocessing(kind: str, image: str, tmp_path: Path) -> None:
    bundle = MAKERS[kind](tmp_path / "B.edge")
    with triton_like(bundle, tmp_path / "m", image=image) as (url, _):
        report = edgeproof.verify(bundle, url=url)
    assert report.passed
    assert [gate.name for gate in report.gates] == ["server network", "server preprocessing", "server outputs"]
    assert report.warnings == []
    assert report.settings["model"] == "B"
    assert report.settings["engine"] == "triton 2.51.0"


@pytest.mark.parametrize("kind", MAKERS)
def test_every_task_of_edgeproof_serve(kind: str, tmp_path: Path) -> None:
    bundle = MAKERS[kind](tmp_path / "B.edge")
    with serving(bundle) as served:
        report = edgeproof.verify(bundle, url=served.url)
    assert report.passed
    assert [gate.name for gate in report.gates] == ["server network", "server preprocessing"]
    assert report.warnings == []


def test_a_channel_swap_is_named_preprocessing(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    swapped = make_bundle(tmp_path / "S/B.edge")
    rewrite(swapped, {}, lambda m, files: replace(m, contract=replace(bundle.contract, color="bgr"), files=files))
    with triton_like(bundle, tmp_path / "m") as (url, like):
        contract = tmp_path / "m/B_pre/1/contract.json"
        contract.write_text(contract.read_text().replace('"rgb"', '"bgr"'))
        (tmp_path / "m/B_pre/1/golden.npz").unlink()  # it would not load
        with backend_model(tmp_path / "m/B_pre") as wrong:
            like.execute["B_pre"] = wrong
            for hidden in ({"B_pre"}, set()):
                like.hidden = hidden
                code, _, err = cli("verify", bundle.path, "--url", url, "--json", tmp_path / "r.json")
                assert code == 1
                assert "server preprocessing" in err
                assert "server network: " not in err
    gates = {gate["name"]: gate["passed"] for gate in json.loads((tmp_path / "r.json").read_text())["gates"]}
    assert gates == {"server network": True, "server preprocessing": False, "server outputs": False}
    with serving(Bundle.open(swapped.path)) as served:
        code, _, err = cli("verify", bundle.path, "--url", served.url)
    assert code == 1
    assert "server preprocessing: max_abs_diff" in err
    assert "failed 1 of 2 gates" in err


def test_other_weights_are_named_network(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    other = make_bundle(tmp_path / "O/B.edge")
    content = tiny_onnx(seed=7).SerializeToString()
    other = rewrite(other, {"model.onnx": content}, lambda m, files: replace(m, files=files))
    with serving(other) as served:
        code, _, err = cli("verify", bundle.path, "--url", served.url)
    assert code == 1
    assert "server network: " in err
    assert "server preprocessing" not in err


def test_a_server_of_another_model_is_refused(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    labels = make_bundle(tmp_path / "L/B.edge", labels=("cat", "dog", "fish", "moth", "bird"))
    with serving(bundle) as served:
        for path, model, said in (
            (make_multilabel_bundle(tmp_path / "M.edge").path, "B", "its outputs are not those of"),
            (make_defect_bundle(tmp_path / "D.edge").path, "B", "its input are not those of"),
            (bundle.path, "X", "no model X"),
        ):
            code, _, err = cli("verify", path, "--url", served.url, "--model", model)
            assert (code, said in err) == (2, True), err
    with triton_like(labels, tmp_path / "m") as (url, _):
        code, _, err = cli("verify", bundle.path, "--url", url)
        assert code == 2
        assert "its labels are not those of" in err
        assert "'moth' for class 3" in err
    other = make_bundle(tmp_path / "O/B.edge", labels=("cat", "dog", "fish", "bird", "wasp"))
    with serving(other) as served:
        code, _, err = cli("verify", bundle.path, "--url", served.url)
        assert code == 2
        assert "labels without 'moth'" in err


def test_a_server_that_is_not_there_or_closed(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge").path
    for url in ("http://127.0.0.1:9", "grpc://127.0.0.1:9", "https://127.0.0.1:9"):
        code, _, err = cli("verify", bundle, "--url", url)
        assert code == 3
        assert f"{url}: not reachable" in err
    for url in ("ftp://h", "127.0.0.1:8000", "http://", "http://h:x", f"http://{'a' * 64}.b", "http://127.0.0.1/é"):
        code, _, err = cli("verify", bundle, "--url", url)
        assert code == 2
        assert "--url: not an address" in err
    code, _, err = cli("verify", bundle, "--url", "http://user:s3cret@127.0.0.1")
    assert code == 2
    assert "--url: holds a user or a password" in err
    assert "s3cret" not in err
    for scheme in ("http", "grpc"):
        code, _, err = cli("verify", bundle, "--url", f"{scheme}://127.0.0.1:9", "--token", "a\nb")
        assert code == 2
        assert "--token: must be printable ASCII" in err
    with serving(Bundle.open(bundle), token="s3cret") as served:  # noqa: S106
        code, _, err = cli("verify", bundle, "--url", served.url)
        assert code == 2
        assert "access denied" in err
        assert cli("verify", bundle, "--url", served.url, "--token", "s3cret")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [("--engine", "opencv", "--url", "http://h"), ("--layers", "--url", "http://h"), ("--model", "m")],
)
def test_options_that_exclude_each_other(cli: Cli, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, _, err = cli("verify", make_bundle(tmp_path / "B.edge").path, *arguments)
    assert code == 2
    assert "--url" in err


def test_without_its_package_grpc_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    monkeypatch.setitem(sys.modules, "tritonclient", None)
    with pytest.raises(UnavailableError, match="requires tritonclient") as caught:
        edgeproof.verify(bundle, url="grpc://127.0.0.1:9")
    assert caught.value.fix is not None
    assert 'pip install "edgeproof[client]"' in caught.value.fix


def test_a_dataset_through_the_servers_preprocessing(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    data = write_sorted(tmp_path / "data", bundle)
    here = edgeproof.evaluate(bundle, data, engine="onnxruntime", evidence=False)
    with triton_like(bundle, tmp_path / "m") as (url, like):
        report = edgeproof.evaluate(bundle, data, url=url, batch=5)
        assert sum(path == "/v2/models/B/infer" for path in like.requests) == 6 + 3  # golden cases, batches
    assert report.passed
    assert report.sections["accuracy"]["top1"] == here.sections["accuracy"]["top1"] == 1.0
    assert report.engine.name == "server"
    assert "evaluate" not in {Path(name).stem for name in Bundle.open(bundle.path).evidence}
    with serving(bundle) as served:
        code, _, err = cli("evaluate", bundle.path, "--data", data, "--url", served.url, "--min-top1", "1")
    assert code == 0, err
    code, _, err = cli("evaluate", bundle.path, "--data", data, "--url", "http://h", "--hops")
    assert code == 2
    assert "--url: excludes" in err


def test_a_generator_is_verified_by_its_tensors(tmp_path: Path) -> None:
    bundle = make_generator_bundle(tmp_path / "G.edge")
    with serving(bundle) as served:
        report = edgeproof.verify(bundle, url=served.url)
    assert [(gate.name, gate.passed) for gate in report.gates] == [("server network", True)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "does not follow"),
        (b"[1]", "does not follow"),
        (b"\xff\xfe", "does not follow"),
        (b'{"outputs": 3}', "does not follow"),
        (b'{"outputs": [{"name": "logits", "datatype": "FP32", "shape": [1, 5], "data": [1]}]}', "does not follow"),
        (
            b'{"outputs": [{"name": "logits", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}',
            "another shape",
        ),
        (
            b'{"outputs": [{"name": "logits", "datatype": "FP7", "shape": [1], "parameters": {"binary_data_size": 9}}]}',  # noqa: E501
            "FP7",
        ),
    ],
)
def test_answers_that_are_not_the_protocols(body: bytes, said: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "B.edge")
    with triton_like(bundle, tmp_path / "m") as (_, like):
        sound = handler(like)

        class Wrong(sound):  # type: ignore[misc,valid-type]
            def do_POST(self) -> None:  # noqa: N802
                self.rfile.read(int(self.headers["Content-Length"]))
                self.reply(200, body)

        with listening(Wrong) as url, pytest.raises(EdgeproofError) as caught:
            edgeproof.verify(bundle, url=url)
    assert isinstance(caught.value, InputError)
    assert said in str(caught.value)


def test_the_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    skimage, page = pytest.importorskip("skimage"), Path(__file__).resolve().parents[2] / "docs/triton.md"
    (code,) = re.findall(r"^```py\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    shutil.copy(Path(skimage.__file__).parent / "data/rocket.jpg", tmp_path / "photograph.jpg")
    monkeypatch.chdir(tmp_path)
    with triton_like(make_bundle(tmp_path / "B.edge"), tmp_path / "m") as (url, _):
        asked = code.replace("localhost:8000", url.removeprefix("http://")).replace('"model"', '"B"')
        exec(compile(asked, page.name, "exec"), {})  # noqa: S102 - that is what a documentation test is
    assert len(capsys.readouterr().out.strip("[]\n").split()) == 3
