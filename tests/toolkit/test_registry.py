"""Push to and pull from a real registry: content-addressed, resumed, checked, and no secret in a message."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import edgeproof
from bundles import make_bundle
from edgeproof.fleet import registry as client
from edgeproof.fleet.credentials import VARIABLES, Credentials, credentials_for
from edgeproof.fleet.modelpack import layers_of, read_manifest
from edgeproof.fleet.reference import Reference
from edgeproof.fleet.registry import Registry, RegistryError
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import BundleError, InputError
from registries import Running, flaky, registry

SECRET = "s3cret-of-the-test"  # noqa: S105
HTPASSWD = "site:$2y$04$rTYz3sqHG24GGP84R0Jm6ObMHuGpSrpEv/Fdm0ZQ4h1M3jRtzOZIq\n"  # bcrypt of SECRET


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "B.edge")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("oci://r.example/a/b", ("r.example", "a/b", "latest", None)),
        ("oci://r.example:5000/a:v1.2", ("r.example:5000", "a", "v1.2", None)),
        (f"oci://[::1]:5000/a@sha256:{'0' * 64}", ("[::1]:5000", "a", None, f"sha256:{'0' * 64}")),
        (f"oci://r/a:t@sha256:{'f' * 64}", ("r", "a", "t", f"sha256:{'f' * 64}")),
    ],
)
def test_references(text: str, parts: tuple[str | None, ...]) -> None:
    found = Reference.parse(text)
    assert (found.host, found.name, found.tag, found.digest) == parts
    assert Reference.parse(str(found)) == found


@pytest.mark.parametrize(
    "text", ["r/a", "https://r/a", "oci://r", "oci://r/A", "oci://r/a:", "oci://r/a@sha256:12", "oci://r/../a", ""]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(InputError, match="not an address of a registry"):
        Reference.parse(text)


def test_a_password_in_a_reference_is_refused_and_not_shown() -> None:
    with pytest.raises(InputError) as caught:
        Reference.parse(f"oci://user:{SECRET}@r.example/a")
    assert SECRET not in str(caught.value)
    assert "docker login" in str(caught.value)


def test_push_and_pull(running: Running, bundle: Bundle, tmp_path: Path) -> None:
    reference = f"oci://{running.host}/site/model:v1"
    first = edgeproof.push(bundle, reference)
    assert first.sent_bytes == first.size_bytes == sum(layer.size for layer in layers_of(bundle.path))
    again = edgeproof.push(bundle, reference)
    assert (again.digest, again.sent_bytes) == (first.digest, 0)
    pulled = edgeproof.pull(reference, tmp_path / "P.edge")
    assert pulled.digest == first.digest
    assert pulled.received_bytes == first.size_bytes
    assert layers_of(tmp_path / "P.edge") == layers_of(bundle.path)
    assert edgeproof.pull(first.reference, tmp_path / "P.edge").received_bytes == 0  # by digest; it is there
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_the_manifest_is_of_modelpack(running: Running, bundle: Bundle) -> None:
    reference = Reference.parse(f"oci://{running.host}/modelpack")
    digest = edgeproof.push(bundle, str(reference)).digest
    registry_ = Registry(reference)
    document = json.loads(registry_.manifest(digest)[0])
    assert document["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert document["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert document["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    types = {one["annotations"]["org.cncf.model.filepath"]: one["mediaType"] for one in document["layers"]}
    assert types["model.onnx"] == "application/vnd.cncf.model.weight.v1.raw"
    assert types["bundle.json"] == types["labels.txt"] == "application/vnd.cncf.model.weight.config.v1.raw"
    assert types["golden/0.png"] == "application/vnd.cncf.model.dataset.v1.raw"
    config = json.loads(registry_.blob(document["config"]["digest"], 1 << 20))
    assert set(config) == {"descriptor", "config", "modelfs"}
    assert config["config"]["precision"] == "float32"
    assert config["modelfs"]["diffIds"] == [one["digest"] for one in document["layers"]]


def test_a_pull_that_breaks_goes_on_where_it_stopped(running: Running, bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / "notes.bin").write_bytes(bytes(range(256)) * 4096)  # 1 MiB
    pushed = edgeproof.push(bundle, f"oci://{running.host}/broken:v1")
    with flaky(running.host) as proxy:
        proxy.most_bytes = 200_000  # of one answer: the large file takes six
        pulled = edgeproof.pull(f"oci://{proxy.address}/broken:v1", tmp_path / "P.edge")
        assert proxy.cut >= 5
    assert pulled.received_bytes == pushed.size_bytes  # no byte twice
    assert layers_of(tmp_path / "P.edge") == layers_of(bundle.path)


def test_a_push_that_breaks_is_finished(
    running: Running, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_UPLOAD_BYTES", 1 << 20)
    (bundle.path / "notes.bin").write_bytes(bytes(range(256)) * 8192)  # 2 MiB
    with flaky(running.host) as proxy:
        proxy.most_sent = 600_000
        edgeproof.push(bundle, f"oci://{proxy.address}/push:v1")
        assert proxy.cut == 1
    edgeproof.pull(f"oci://{running.host}/push:v1", tmp_path / "P.edge")
    assert layers_of(tmp_path / "P.edge") == layers_of(bundle.path)


def test_a_pull_that_is_given_up_leaves_nothing_half_and_is_resumed(
    running: Running, bundle: Bundle, tmp_path: Path
) -> None:
    (bundle.path / "notes.bin").write_bytes(bytes(range(256)) * 4096)
    pushed = edgeproof.push(bundle, f"oci://{running.host}/gone:v1")
    with flaky(running.host) as proxy:
        reference = f"oci://{proxy.address}/gone:v1"
        edgeproof.pull(reference, tmp_path / "Q.edge")
        proxy.refusing = True
        with pytest.raises(RegistryError, match="cannot be reached"):
            edgeproof.pull(reference, tmp_path / "P.edge")
        assert not (tmp_path / "P.edge").exists()
        # What an interrupted pull leaves: the half of a file.
        partial = tmp_path / f".P.edge.{pushed.digest[7:19]}.pull"
        partial.mkdir()
        (partial / "notes.bin").write_bytes((bundle.path / "notes.bin").read_bytes()[: 1 << 19])
        proxy.refusing = False
        pulled = edgeproof.pull(reference, tmp_path / "P.edge")
    assert pulled.received_bytes == pushed.size_bytes - (1 << 19)
    assert not partial.exists()


def test_a_damaged_rest_of_an_earlier_try_is_fetched_again(running: Running, bundle: Bundle, tmp_path: Path) -> None:
    pushed = edgeproof.push(bundle, f"oci://{running.host}/torn:v1")
    partial = tmp_path / f".P.edge.{pushed.digest[7:19]}.pull"
    partial.mkdir()
    (partial / "model.onnx").write_bytes(bytes((bundle.path / "model.onnx").stat().st_size))  # zeros, after a power cut
    with pytest.raises(RegistryError, match="another digest"):
        edgeproof.pull(pushed.reference, tmp_path / "P.edge")
    edgeproof.pull(pushed.reference, tmp_path / "P.edge")
    assert layers_of(tmp_path / "P.edge") == layers_of(bundle.path)


def test_a_registry_that_lies(running: Running, bundle: Bundle, tmp_path: Path) -> None:
    pushed = edgeproof.push(bundle, f"oci://{running.host}/lies:v1")
    model = next(layer for layer in layers_of(bundle.path) if layer.path == "model.onnx")
    blob = running.blob(model.digest)
    whole = blob.read_bytes()
    try:
        blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(RegistryError, match="another digest"):
            edgeproof.pull(pushed.reference, tmp_path / "P.edge")
        blob.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(RegistryError):
            edgeproof.pull(pushed.reference, tmp_path / "P.edge")
    finally:
        blob.write_bytes(whole)
    assert not (tmp_path / "P.edge").exists()
    manifest = running.blob(pushed.digest)
    whole = manifest.read_bytes()
    try:
        manifest.write_bytes(whole.replace(b"model.onnx", b"m0del.onnx"))
        with pytest.raises(RegistryError):
            edgeproof.pull(pushed.reference, tmp_path / "P.edge")
    finally:
        manifest.write_bytes(whole)


def test_manifests_whose_paths_lead_outside(bundle: Bundle) -> None:
    good = {"mediaType": "x", "digest": f"sha256:{'0' * 64}", "size": 1}

    def manifest(*paths: str) -> bytes:
        layers = [{**good, "annotations": {"org.cncf.model.filepath": path}} for path in paths]
        kind = "application/vnd.cncf.model.manifest.v1+json"
        return json.dumps({"artifactType": kind, "layers": layers}).encode()

    assert [layer.path for layer in read_manifest(manifest("bundle.json"), "m")] == ["bundle.json"]
    for paths in (
        ("bundle.json", "../x"),
        ("bundle.json", "/etc/passwd"),
        ("bundle.json", "a/../../x"),
        ("bundle.json", ".hidden/x"),
        ("bundle.json", "bundle.json"),
        ("bundle.json", "a", "a/b"),
        ("model.onnx",),
    ):
        with pytest.raises(BundleError):
            read_manifest(manifest(*paths), "m")
    for raw in (b"{}", b"[]", b'{"artifactType": "application/vnd.cncf.model.manifest.v1+json"}', b"\xff"):
        with pytest.raises(BundleError):
            read_manifest(raw, "m")


def test_what_is_not_a_bundle(running: Running, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="not found"):
        edgeproof.pull(f"oci://{running.host}/nothing:v1", tmp_path / "P.edge")
    (tmp_path / "P.edge").mkdir()
    pushed = edgeproof.push(bundle, f"oci://{running.host}/exists")
    with pytest.raises(InputError, match="exists"):
        edgeproof.pull(pushed.reference, tmp_path / "P.edge")
    with pytest.raises(InputError, match="digest cannot be chosen"):
        edgeproof.push(bundle, pushed.reference)
    (bundle.path / "link").symlink_to("bundle.json")
    with pytest.raises(InputError, match="not a regular file"):
        edgeproof.push(bundle, f"oci://{running.host}/link")


def test_a_full_disk(running: Running, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = edgeproof.push(bundle, f"oci://{running.host}/full")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(RegistryError, match="disk full"):
        edgeproof.pull(pushed.reference, tmp_path / "P.edge")
    assert not (tmp_path / "P.edge").exists()


def test_a_password(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with registry(tmp_path / "registry", htpasswd=HTPASSWD) as running:
        reference = f"oci://{running.host}/a:v1"
        with pytest.raises(RegistryError, match="access refused") as caught:
            edgeproof.push(bundle, reference)
        assert "docker login" in str(caught.value)
        folder = tmp_path / "docker"
        folder.mkdir()
        auth = base64.b64encode(f"site:{SECRET}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {running.host: {"auth": auth}}}))
        pushed = edgeproof.push(bundle, reference)
        (folder / "config.json").unlink()
        monkeypatch.setenv(VARIABLES[0], "site")
        monkeypatch.setenv(VARIABLES[1], "wrong-" + SECRET)
        with pytest.raises(RegistryError, match="access refused") as caught:
            edgeproof.pull(pushed.reference, tmp_path / "P.edge")
        assert SECRET not in str(caught.value)
        monkeypatch.setenv(VARIABLES[1], SECRET)
        edgeproof.pull(pushed.reference, tmp_path / "P.edge")
        assert SECRET not in running.log.read_text()


def test_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    assert credentials_for("r.example") == Credentials()
    (folder / "config.json").write_text('{"auths": {"r.example": {"auth": "%%%"}}}')
    with pytest.raises(InputError, match="not Base64"):
        credentials_for("r.example")
    (folder / "config.json").write_text('{"credHelpers": {"r.example": "of-the-tests"}}')
    helper = tmp_path / "bin" / "docker-credential-of-the-tests"
    helper.parent.mkdir()
    helper.write_text(f'#!/bin/sh\nread host\necho "{{\\"Username\\": \\"$host\\", \\"Secret\\": \\"{SECRET}\\"}}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:/usr/bin:/bin")
    found = credentials_for("r.example")
    assert (found.user, found.password) == ("r.example", SECRET)
    assert SECRET not in repr(found)
    monkeypatch.setenv(VARIABLES[2], SECRET)
    assert credentials_for("r.example").token == SECRET
    with pytest.raises(InputError, match="without encryption") as caught:
        Registry(Reference.parse("oci://r.example/a"), plain_http=True)
    assert SECRET not in str(caught.value)


def test_tls(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    names = ("-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate)
    subprocess.run([program, "req", "-x509", *kind, *names], check=True, capture_output=True)
    monkeypatch.setattr(Reference, "is_loopback", False)
    with registry(tmp_path / "registry", tls=(certificate, key)) as running:
        reference = f"oci://{running.host}/a:v1"
        with pytest.raises(RegistryError, match="certificate not accepted") as caught:
            edgeproof.push(bundle, reference)
        assert "SSL_CERT_FILE" in str(caught.value)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        pushed = edgeproof.push(bundle, reference)
        assert edgeproof.pull(pushed.reference, tmp_path / "P.edge").digest == pushed.digest
    with registry(tmp_path / "plain") as running, pytest.raises(RegistryError, match="cannot be reached") as caught:
        edgeproof.push(bundle, f"oci://{running.host}/a:v1")
    assert "--plain-http" in str(caught.value)
