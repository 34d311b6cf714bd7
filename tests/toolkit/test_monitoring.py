"""Alert rules and dashboard in examples/monitoring, against promtool, a Prometheus and the metrics of a server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bundles import make_bundle
from edgeproof.library.live_sinks import SinkOptions
from edgeproof_runtime.sources import StreamSpec
from serving import PLAIN, Served, serving
from waiting import free_port, until

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text())
RULES = (FOLDER / "alerts.yml").read_text()
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*", "$stream": ".*"}
METRIC = re.compile(r"\b((?:edgeproof|process)_[a-z_]+)\b(?:\{([^}]*)\})?")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("monitoring")
    streams = [StreamSpec(name="card", source="synthetic://64x48@20"), StreamSpec(name="none", source="/nowhere.mp4")]
    outputs = SinkOptions(sinks=(str(folder / "events.csv"),))
    with serving(make_bundle(folder / "tiny.edge"), streams, engine="null", outputs=outputs) as running:
        until(lambda: 'outcome="decided",stream="card"' in running.get("/metrics").text)
        yield running


def tool(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"no {name}: install Debian's prometheus")
    return program


def queries() -> list[str]:
    """The dashboard's queries, with Grafana's variables set."""
    found = []
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            text = target["expr"]
            for variable, value in VARIABLES.items():
                text = text.replace(variable, value)
            found.append(text)
    return found


@pytest.mark.parametrize(
    "words", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]], ids=" ".join
)
def test_promtool_passes_the_rules_and_their_tests(words: list[str]) -> None:
    ran = subprocess.run([tool("promtool"), *words], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_is_tested_and_documented() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES))
    tests, page = (FOLDER / "alerts_test.yml").read_text(), (FOLDER / "README.md").read_text()
    assert len(alerts) > 10
    for alert in alerts:
        assert len(re.findall(rf"alertname: {alert}\b", tests)) >= 2, f"{alert}: one test that it fires, one that not"
        assert f"`{alert}`" in page, alert


def test_rules_and_dashboard_name_only_what_metrics_has(served: Served) -> None:
    samples: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^([a-z_]+)(?:\{([^}]*)\})? ", served.get("/metrics").text, re.MULTILINE):
        samples.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    samples.setdefault("edgeproof_http_requests_total", set()).update(("route", "code"))
    used = [found for text in [*queries(), RULES] for found in METRIC.findall(text)]
    variables = [found for v in DASHBOARD["templating"]["list"] for found in METRIC.findall(v.get("definition", ""))]
    assert len(used) > 40
    for name, matchers in [*used, *variables]:
        assert name in samples, name
        labels = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", matchers)) - {"instance", "job"}
        assert labels <= samples[name], (name, labels - samples[name])


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    panels = DASHBOARD["panels"]
    assert DASHBOARD["uid"]
    assert DASHBOARD["schemaVersion"] >= 36
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    known = {f"${variable['name']}" for variable in DASHBOARD["templating"]["list"]} | {"$__rate_interval"}
    assert set(re.findall(r"\$\w+", json.dumps([p["targets"] for p in panels]))) <= known | {"$__all"}


@pytest.mark.slow
def test_a_prometheus_loads_the_rules_and_answers_the_dashboard(served: Served, tmp_path: Path) -> None:
    program, port = tool("prometheus"), free_port()
    shutil.copy(FOLDER / "alerts.yml", tmp_path)
    (tmp_path / "token").write_text("unused")
    config = (FOLDER / "prometheus.yml").read_text().replace("127.0.0.1:8080", f"127.0.0.1:{served.port}")
    (tmp_path / "prometheus.yml").write_text("global: {evaluation_interval: 1s}\n" + config.replace("15s", "1s"))
    words = [program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
             f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip

    def ask(path: str, **parameters: str) -> dict[str, Any]:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=parameters, **PLAIN, timeout=20)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["data"]
        return found

    def scraped() -> bool:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/-/ready", **PLAIN).status_code != 200:
                return False
        except httpx.TransportError:
            return False
        found = ask("query", query="count_over_time(up[1m])")["result"]
        return bool(found) and int(found[0]["value"][1]) >= 3

    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(scraped, 60)
            rules = ask("rules")["groups"][0]["rules"]
            assert {rule["name"] for rule in rules} == set(re.findall(r"alert: (\w+)", RULES))
            until(lambda: all(rule["health"] == "ok" for rule in ask("rules")["groups"][0]["rules"]), 90)
            for query in queries():
                found = ask("query", query=query)["result"]
                assert found or "output" in query or "http_request" in query or "left_out" in query, query
        finally:
            process.terminate()
