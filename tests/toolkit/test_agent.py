"""The agent with a real registry: a good bundle runs, whatever is wrong, slower or crashes does not."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import edgeproof
from bundles import LABELS, make_bundle, tiny_onnx, write_clip
from command_line import Cli
from edgeproof.fleet import agent as module
from edgeproof.fleet import registry as client
from edgeproof.fleet.agent import Agent, AgentSettings, Decision
from edgeproof.fleet.health import HealthBounds
from edgeproof.fleet.metrics import metrics_text, serve_metrics
from edgeproof.fleet.proof import Proof, ProofOptions
from edgeproof.fleet.store import State, Trying
from edgeproof.fleet.waves import device_id, position
from edgeproof_runtime.bundle.reader import Bundle, sha256_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.read import read_report
from fleet_bundles import crashing, good, slower, wrong
from fleet_service import Service
from kill_agent import kill_agents
from registries import Flaky, Running, flaky, registry

# The bound is wide, because the machine is shared.
PROOF = ProofOptions(engine="onnxruntime", threads=1, max_slowdown=1.0, seconds=0.4)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "_BASELINE_S", 0.1)
    monkeypatch.setattr(module, "_POLL_S", 0.05)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


class Device:
    """A device with its folder, and the tag that it follows."""

    def __init__(self, host: str, name: str, folder: Path) -> None:
        self.reference = f"oci://{host}/{name}:stable"
        self.folder = folder

    def push(self, bundle: Bundle) -> str:
        return edgeproof.push(bundle, self.reference).digest

    def look(self, proof: ProofOptions = PROOF, **settings: object) -> Decision:
        given = AgentSettings(reference=self.reference, folder=self.folder, proof=proof, **settings)  # type: ignore[arg-type]
        with Agent(given) as agent:
            return agent.look()

    @property
    def current(self) -> Bundle:
        return Bundle.open(self.folder / "current.edge")

    @property
    def kept(self) -> set[str]:
        return {path.name for path in (self.folder / "by-digest").iterdir()}


@pytest.fixture
def device(running: Running, tmp_path: Path, request: pytest.FixtureRequest) -> Device:
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return Device(running.host, name, tmp_path / "device")


@pytest.fixture
def unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every proof passes: it costs two seconds, and other tests have it."""
    monkeypatch.setattr(module, "prove", lambda *_, **__: Proof())


def name_of(digest: str) -> str:
    return f"{digest.replace(':', '-')}.edge"


def test_push_agent_switch(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = device.push(good(tmp_path / "A.edge"))
    decision = device.look()
    assert (decision.outcome, decision.current) == ("switched", first), decision.reason
    link = device.folder / "current.edge"
    assert str(link.readlink()) == f"by-digest/{name_of(first)}"
    second = device.push(good(tmp_path / "B.edge", seed=1))
    decision = device.look()
    assert (decision.outcome, decision.current) == ("switched", second), decision.reason
    device.current.check()
    assert device.kept == {name_of(first), name_of(second)}
    report = read_report(decision.path)  # type: ignore[arg-type]
    assert report["kind"] == "agent"
    assert report["passed"] is True
    assert report["decision"]["outcome"] == "switched"
    assert report["decision"]["previous"] == first
    assert report["decision"]["slowdown"]["estimate"] > 0
    assert {"parity onnxruntime fp32", "latency"} <= {gate["name"] for gate in report["gates"]}
    third = device.push(good(tmp_path / "C.edge", seed=2))
    with monkeypatch.context() as patch:
        patch.setattr(module, "prove", lambda *_, **__: Proof())
        assert device.look().current == third
    assert device.kept == {name_of(second), name_of(third)}
    assert device.look().outcome == "unchanged"
    assert device.look().report is None  # said once
    names = sorted(path.name for path in (device.folder / "decisions").iterdir())
    assert [name[9:] for name in names] == ["switched.json"] * 3 + ["unchanged.json"]


@pytest.mark.parametrize(
    ("make", "engine", "reason"),
    [
        (wrong, "onnxruntime", "parity onnxruntime fp32"),
        (slower, "onnxruntime", "slower: a frame takes"),
        (crashing, "opencv", "crashes on this model (SIG"),
    ],
)
def test_a_bundle_that_is_wrong_slower_or_crashes_never_becomes_current(
    make: Callable[[Path], Bundle], engine: str, reason: str, device: Device, tmp_path: Path
) -> None:
    proof = ProofOptions(engine=engine, threads=1, max_slowdown=0.5, seconds=1.0)
    first = device.push(good(tmp_path / "A.edge"))
    assert device.look(proof).outcome == "switched"
    bad = device.push(make(tmp_path / "B.edge"))
    decision = device.look(proof)
    assert decision.outcome == "rejected", decision.reason
    assert reason in decision.reason
    assert decision.current == first
    assert device.kept == {name_of(first)}
    again = device.look(proof)
    assert again.outcome == "unchanged"
    assert again.reason.startswith("rejected earlier: ")
    state = json.loads((device.folder / "state.json").read_text())
    assert reason in state["rejected"][bad]


@pytest.mark.usefixtures("unproven")
def test_another_task_or_other_labels(device: Device, tmp_path: Path) -> None:
    device.push(good(tmp_path / "A.edge"))
    assert device.look().outcome == "switched"
    other = make_bundle(tmp_path / "B.edge", labels=("a", "b"), model=tiny_onnx(classes=2))
    digest = device.push(other)
    decision = device.look()
    assert decision.outcome == "rejected"
    assert "other labels: 2 labels instead of 5 labels" in decision.reason
    device.push(make_bundle(tmp_path / "C.edge", labels=(*LABELS[1:], LABELS[0])))
    assert "other labels" in device.look().reason
    with Agent(AgentSettings(reference=device.reference, folder=device.folder)) as agent:
        agent.store.state.rejected.clear()
        agent.store.save()
    device.push(other)
    assert device.look(allow_changes=True).current == digest


@pytest.mark.usefixtures("unproven")
def test_the_registry_is_gone_lies_or_the_disk_is_full(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with flaky(running.host) as proxy:
        device = Device(proxy.address, "gone", tmp_path / "device")
        first = device.push(good(tmp_path / "A.edge"))
        assert device.look().outcome == "switched"
        second = device.push(good(tmp_path / "B.edge", seed=1))
        _check_postponed(device, proxy, first, monkeypatch)
        assert device.look().current == second


def _check_postponed(device: Device, proxy: Flaky, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.refusing = True
    decision = device.look()
    assert (decision.outcome, decision.current) == ("postponed", first)
    assert "cannot be reached" in decision.reason
    assert device.look().report is None
    proxy.refusing = False
    proxy.most_bytes = 300  # less than any answer
    decision = device.look()
    assert (decision.outcome, decision.current) == ("postponed", first)
    proxy.most_bytes = None
    with monkeypatch.context() as patch:
        patch.setattr("edgeproof.fleet.transfer._SPARE_BYTES", 1 << 60)
        decision = device.look()
    assert (decision.outcome, decision.current) == ("postponed", first)
    assert "disk full" in decision.reason
    assert State.from_json(json.loads((device.folder / "state.json").read_text())).rejected == {}


@pytest.mark.usefixtures("unproven")
def test_waves(device: Device, tmp_path: Path) -> None:
    first = hashlib.sha256(b"device-1").hexdigest()[:4]
    assert position("device-1") == pytest.approx(100 * int(first, 16) / 0xFFFF, abs=0.01)
    assert re.fullmatch("[0-9a-f]{32}", device_id())
    places = [position(f"camera-{number}") for number in range(2000)]
    assert 0 <= min(places) < max(places) < 100
    assert sum(place < 10 for place in places) == pytest.approx(200, abs=45)  # 3 sigma of a binomial
    digest = device.push(good(tmp_path / "A.edge"))
    early, late = sorted((f"camera-{number}" for number in range(50)), key=position)[::49]
    decision = device.look(percent=50, device=late)
    assert (decision.outcome, decision.current) == ("waiting", None)
    assert device.look(percent=50, device=early).current == digest
    with pytest.raises(InputError, match="--percent"):
        device.look(percent=101)


def test_one_agent_at_a_time(device: Device) -> None:
    settings = AgentSettings(reference=device.reference, folder=device.folder)
    with Agent(settings), pytest.raises(InputError, match="in use"):
        Agent(settings)
    Agent(settings).close()


@pytest.mark.usefixtures("unproven")
def test_what_is_damaged_on_the_disk_is_pulled_again(device: Device, tmp_path: Path) -> None:
    digest = device.push(good(tmp_path / "A.edge"))
    device.look()
    model = device.folder / "current.edge" / "model.onnx"
    model.write_bytes(bytes(model.stat().st_size))
    (device.folder / "state.json").write_text("{")
    decision = device.look()
    assert (decision.outcome, decision.current) == ("switched", digest)
    device.current.check()
    assert any("What the agent remembered is lost" in note for note in decision.report.warnings)  # type: ignore[union-attr]


@pytest.mark.usefixtures("unproven")
@pytest.mark.parametrize(
    ("illness", "reason"),
    [
        ({}, None),
        ({"failed": 5.0}, "share of failed frames"),
        ({"unknown": 9.0}, "share of unknown frames"),
        ({"age": 10.0}, "mean frame age 1"),
        ({"decided": 0.0}, "no frame was decided for"),
        ({"down": True}, "the service has not answered for"),
        ({"refuses": True}, "the service refused the bundle: golden"),
        ({"restarts": True}, "the service was started again"),
    ],
)
def test_a_service_that_becomes_worse_is_rolled_back(
    illness: dict[str, float], reason: str | None, device: Device, tmp_path: Path
) -> None:
    first = device.push(good(tmp_path / "A.edge"))
    device.look()
    second = device.push(good(tmp_path / "B.edge", seed=1))
    service = Service(device.folder / "current.edge")
    for name, value in illness.items():
        if name in service.after:
            service.after[name] = value
        else:
            setattr(service, name, value)
    bounds = HealthBounds(silent_s=0.4)
    settings = {"health_url": service.url, "watch_s": 0.5 if reason is None else 8.0, "bounds": bounds}
    try:
        decision = device.look(**settings)
        if reason is None:
            assert (decision.outcome, decision.current) == ("switched", second), decision.reason
            return
        assert (decision.outcome, decision.current) == ("rolled back", first), decision.reason
        assert reason in decision.reason
        assert decision.report is not None
        assert decision.report.sections["decision"]["health"]["before"]["decided"] > 0
        assert device.look(**settings).reason.startswith("rejected earlier: ")
        assert device.current.name == "A"
    finally:
        service.server.shutdown()
        service.server.server_close()


@pytest.mark.usefixtures("unproven")
def test_an_interrupted_switch_or_roll_back_is_finished(device: Device, tmp_path: Path) -> None:
    first = device.push(good(tmp_path / "A.edge"))
    device.look()
    second = device.push(good(tmp_path / "B.edge", seed=1))
    device.look()
    # Ended between the two steps of a roll-back: the digest is rejected, the link still names it.
    with Agent(AgentSettings(reference=device.reference, folder=device.folder, proof=PROOF)) as agent:
        agent.store.state.rejected[second] = "worse"
        agent.store.save()
        decision = agent.look()
    assert (decision.outcome, decision.current) == ("recovered", first)
    # Ended while it was watched, again and again: it may be what ends the machine.
    with Agent(AgentSettings(reference=device.reference, folder=device.folder, proof=PROOF)) as agent:
        agent.store.state.rejected.clear()
        assert agent.look().current == second
        for starts, outcome in ((4, "switched"), (5, "rolled back")):
            agent.store.state.previous = first
            agent.store.state.trying = Trying(second, "watch", starts)
            assert agent.look().outcome == outcome
        assert agent.store.current == first


def test_the_command(device: Device, tmp_path: Path, cli: Cli) -> None:
    good(tmp_path / "A.edge")
    wrong(tmp_path / "B.edge")
    code, out, err = cli("push", "A.edge", device.reference, "--json", "pushed.json")
    assert code == 0, err
    pushed = json.loads((tmp_path / "pushed.json").read_text())
    assert pushed["schema"] == "edgeproof.push/1"
    assert out.strip() == pushed["reference"]
    code, out, err = cli("pull", pushed["reference"], "--out", "P.edge", "--json", "pulled.json")
    assert code == 0, err
    assert json.loads((tmp_path / "pulled.json").read_text())["received_bytes"] == pushed["size_bytes"]
    once = ("agent", "--ref", device.reference, "--bundle-dir", "device", "--engine", "onnxruntime", "--once")
    code, out, err = cli(*once, "--json", "decision.json", "--metrics-file", "agent.prom")
    assert code == 0, err
    assert out.startswith(f"switched {pushed['digest'][:19]}")
    assert read_report(tmp_path / "decision.json")["decision"]["current"] == pushed["digest"]
    assert cli("report", "decision.json", "--out", "decision.html")[0] == 0
    page = (tmp_path / "decision.html").read_text()
    assert "Roll-out" in page
    assert "proven on this device" in page
    metrics = (tmp_path / "agent.prom").read_text()
    assert 'edgeproof_agent_decisions_total{outcome="switched"} 1' in metrics
    assert pushed["digest"] in metrics
    assert cli("push", "B.edge", device.reference)[0] == 0
    code, out, err = cli(*once, "--metrics-port", "0")
    assert code == 1
    assert out.startswith("rejected sha256:")
    assert "parity onnxruntime fp32" in err
    assert "metrics http://127.0.0.1:" in err
    assert cli(*once)[0] == 0
    for wrong_option in (("--percent", "200"), ("--max-slowdown", "x"), ("--health-url", "x"), ("--interval", "x")):
        assert cli(*once, *wrong_option)[0] == 2


def test_the_page(running: Running, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of docs/fleet.md that is shown with a prompt runs, in its order."""
    page = (Path(__file__).resolve().parents[2] / "docs/fleet.md").read_text(encoding="utf-8")
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    good(tmp_path / "model.edge")
    write_clip(tmp_path / "clip.mp4")
    ran = []
    for code in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^\$ edgeproof (.+)$", code, re.MULTILINE):
            code_, _, err = cli(*shlex.split(line.replace("127.0.0.1:5000", running.host)))
            assert code_ == 0, (line, err)
            ran.append(line.split()[0])
    assert ran == ["push", "pull", "agent", "run"]
    assert (tmp_path / "bundles/current.edge").is_symlink()


@pytest.mark.slow
def test_agents_that_are_killed_leave_a_working_device(running: Running, tmp_path: Path) -> None:
    """A few of the kills of `make check-agent`."""
    found = kill_agents(tmp_path, running.host, kills=5, seed=1)
    assert sum(found["under_way"].values()) == 5


def test_metrics(device: Device, tmp_path: Path) -> None:
    device.push(good(tmp_path / "A.edge"))
    settings = AgentSettings(reference=device.reference, folder=device.folder, device='a "quoted" id', percent=0)
    with Agent(settings) as agent:
        text = metrics_text(agent, agent.look())
    page = serve_metrics(0)
    try:
        page.text = text
        with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/metrics", timeout=10) as answer:
            assert answer.read().decode() == text
    finally:
        page.close()
    assert 'edgeproof_agent_last_decision{outcome="waiting"} 1' in text
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_signatures(device: Device, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(form[0], serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "site.pem").write_bytes(private)
    (tmp_path / "site.pub").write_bytes(key.public_key().public_bytes(*form))
    trust = tmp_path / "site.pub"
    device.push(good(tmp_path / "A.edge"))
    decision = device.look(trust=trust)
    assert (decision.outcome, decision.current) == ("rejected", None)
    assert decision.reason.startswith("signature: ")
    assert "not signed" in decision.reason
    bundle = good(tmp_path / "B.edge", seed=1)
    edgeproof.sign(bundle, tmp_path / "site.pem")
    digest = device.push(bundle)
    decision = device.look(trust=trust)
    assert (decision.outcome, decision.current) == ("switched", digest), decision.reason
    (bundle.path / "labels.txt").write_text("\n".join(reversed(LABELS)) + "\n")
    document = json.loads((bundle.path / "bundle.json").read_text())
    changed = bundle.path / "labels.txt"
    document["files"]["labels.txt"] = {"sha256": sha256_of(changed), "size_bytes": changed.stat().st_size}
    (bundle.path / "bundle.json").write_text(json.dumps(document))
    device.push(Bundle.open(bundle.path))
    decision = device.look(trust=trust)
    assert (decision.outcome, decision.current) == ("rejected", digest)
    assert decision.reason.startswith("signature: ")


def test_an_agent_that_is_stopped_on_purpose_counts_against_no_bundle(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = device.push(good(tmp_path / "A.edge"))

    def stopped(*_: object, **__: object) -> Proof:
        raise SystemExit(143)

    with monkeypatch.context() as patch:
        patch.setattr(module, "prove", stopped)
        for _ in range(7):
            with pytest.raises(SystemExit):
                device.look()
    monkeypatch.setattr(module, "prove", lambda *_, **__: Proof())
    assert device.look().current == digest
