"""Kill the agent of a device at random moments, and look at what is left.

    python tests/kill_agent.py FOLDER --kills 50

Needs docker-registry. Each round starts an agent in a process of its own and kills it with SIGKILL. Then
`current.edge` must name a whole bundle. New bundles are pushed on the way, now and then one whose outputs are wrong.
At the end the agent must take one more bundle. The last line is a JSON summary.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import edgeproof
from edgeproof.fleet.agent import Agent, AgentSettings
from edgeproof.fleet.proof import ProofOptions
from edgeproof_runtime.bundle.reader import Bundle
from fleet_bundles import good, wrong
from fleet_service import Service
from kill_writers import in_child
from registries import registry

__all__ = ["kill_agents"]

# An agent alone on a quiet machine takes about two seconds from the pull to the end of the watch.
_PULL_S, _LONGEST_S = 0.6, 3.5
_EVERY_WRONG = 5


def kill_agents(folder: Path, host: str, kills: int, seed: int = 0, longest_s: float = _LONGEST_S) -> dict[str, Any]:
    """Kill agents of a device.

    Args:
        folder: an empty folder.
        host: address of a registry.
        kills: number of kills.
        seed: of the moments.
        longest_s: latest moment after the start of an agent, seconds.

    Returns:
        Counts: what was under way at the kills, outcomes, and the time of the last round.

    Raises:
        AssertionError: a device did not work.
    """
    rng = random.Random(seed)
    reference, device = f"oci://{host}/killed:stable", folder / "device"
    phases: Counter[str] = Counter()
    number = 0
    bad: set[str] = set()
    target = edgeproof.push(good(folder / "new.edge", 0), reference).digest
    settings = {"reference": reference, "folder": device, "watch_s": 0.4}
    proof = ProofOptions(engine="onnxruntime", threads=1, max_slowdown=4.0, seconds=0.3)
    with Agent(AgentSettings(**settings, proof=proof)) as agent:  # type: ignore[arg-type]
        assert agent.look().current == target
    service = Service(device / "current.edge")
    settings["health_url"] = service.url
    given = AgentSettings(**settings, proof=proof)  # type: ignore[arg-type]

    def run() -> int:
        with Agent(given) as one:
            while True:
                one.look()
                time.sleep(0.05)

    for _ in range(kills):
        state = json.loads((device / "state.json").read_text())
        current = _current(device)
        if target == current or target in state["rejected"]:
            number += 1
            shutil.rmtree(folder / "new.edge")
            make = wrong if number % _EVERY_WRONG == 0 else good
            target = edgeproof.push(make(folder / "new.edge", number), reference).digest
            bad |= {target} if make is wrong else set()
        in_child(run, rng.uniform(0.0, rng.choice((_PULL_S, longest_s, longest_s))))
        _check(device, bad)
        phases[_under_way(device)] += 1
    shutil.rmtree(folder / "new.edge")
    last = edgeproof.push(good(folder / "new.edge", 10_000), reference).digest
    began = time.monotonic()
    with Agent(given) as agent:
        decisions = [agent.look() for _ in range(3)]
    assert agent.store.current == last, decisions
    assert not [path for path in (device / "by-digest").iterdir() if path.name.endswith((".pull", ".removed"))]
    service.server.shutdown()
    service.server.server_close()
    counts = json.loads((device / "state.json").read_text())["counts"]
    return {"kills": kills, "under_way": dict(phases), "decisions": counts, "last_s": time.monotonic() - began}


def _current(device: Path) -> str:
    name = (device / "current.edge").readlink().name
    return name.removesuffix(".edge").replace("-", ":")


def _check(device: Path, bad: Collection[str]) -> None:
    """Check that the device works: its bundle is whole, its state can be read, and it is none of the wrong ones."""
    bundle = Bundle.open(device / "current.edge")
    bundle.check()
    assert _current(device) not in bad
    json.loads((device / "state.json").read_text())


def _under_way(device: Path) -> str:
    trying = json.loads((device / "state.json").read_text())["trying"]
    if list((device / "by-digest").glob(".*.pull")):
        return "pull"
    return "nothing" if trying is None else str(trying["phase"])


def main() -> None:
    """Kill agents, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=_LONGEST_S, metavar="SECONDS")
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    with registry(given.folder / "registry") as running:
        print(json.dumps(kill_agents(given.folder, running.host, given.kills, given.seed, given.longest)))


if __name__ == "__main__":
    main()
