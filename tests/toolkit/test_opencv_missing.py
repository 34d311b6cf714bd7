"""The command line where OpenCV cannot be imported: the cause, the command that mends it, exit code 3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bundles import make_bundle
from edgeproof_runtime.errors import UnavailableError
from edgeproof_runtime.system import opencv

NOT_INSTALLED = "raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')"
NUMPY_1 = """
import sys
sys.stderr.write("Compiled using NumPy 1.x\\nTraceback (most recent call last):\\n")
raise ImportError("numpy.core.multiarray failed to import")
"""
NO_LIBRARY = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
FAULTS = pytest.mark.parametrize(
    ("content", "said", "fix"),
    [
        (NOT_INSTALLED, "OpenCV: not installed", opencv.INSTALL),
        (NUMPY_1, "OpenCV: built for NumPy 1", 'pip install "numpy<2"'),
        (NO_LIBRARY, "OpenCV: a system library is missing", opencv._bring("libGL.so.1")),
    ],
    ids=["not installed", "NumPy 1", "no libGL"],
)


def edgeproof(folder: Path, content: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command with a cv2 of this content before the installed one."""
    (folder / "first").mkdir()
    (folder / "first" / "cv2.py").write_text(content, "utf-8")
    environ = {**os.environ, "PYTHONPATH": str(folder / "first"), "EDGEPROOF_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "edgeproof", *map(str, arguments)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, cwd=folder)


@FAULTS
def test_doctor_runs_and_says_what_is_wrong(tmp_path: Path, content: str, said: str, fix: str) -> None:
    done = edgeproof(tmp_path, content, "doctor", "--json", "doctor.json")
    assert (done.returncode, done.stderr) == (0, "")
    findings = json.loads((tmp_path / "doctor.json").read_text("utf-8"))["findings"]
    by_subject = {finding["subject"]: finding for finding in findings}
    assert by_subject["opencv"]["state"] == "problem"
    assert by_subject["opencv"]["detail"].startswith(said)
    assert by_subject["opencv"]["fix"] == fix
    assert by_subject["engine opencv"]["state"] == "missing"


def test_a_command_that_needs_opencv_is_exit_3(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "model.edge")
    done = edgeproof(tmp_path, NUMPY_1, "run", bundle.path, "--source", "synthetic://64x48?frames=3")
    assert done.returncode == 3, done.stderr
    assert "OpenCV: built for NumPy 1" in done.stderr
    assert 'pip install "numpy<2"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("library", ["libGL.so.1", "libxcb.so.1", "libgthread-2.0.so.0", "libSM.so.6"])
def test_a_machine_without_a_desktop_is_told_both_ways(library: str) -> None:
    fault = opencv._fault_of(ImportError(f"{library}: cannot open shared object file: No such file or directory"))
    assert str(fault.fix).startswith("sudo apt install libgl1 libglib2.0-0; or ")
    assert "pip install opencv-python-headless" in str(fault.fix)


def test_another_missing_library_is_named() -> None:
    fault = opencv._fault_of(ImportError("libtbb.so.2: cannot open shared object file: No such file or directory"))
    assert "apt-file search libtbb.so.2" in str(fault.fix)


def test_every_use_of_an_absent_opencv_raises() -> None:
    absent = opencv._Absent(ModuleNotFoundError("No module named 'cv2'", name="cv2"))
    assert absent.INTER_AREA is not None, "modules read constants when they are imported"
    for use in (lambda: absent.imread("x"), lambda: absent.__version__, lambda: absent.IMREAD_COLOR | 1):
        with pytest.raises(UnavailableError, match="not installed"):
            use()


def test_all_modules_import_opencv_from_one() -> None:
    root = Path(__file__).resolve().parents[2]
    sources = [path for room in ("runtime", "toolkit", "export") for path in (root / room).rglob("*.py")]
    importing = [path.name for path in sources if "\nimport cv2" in path.read_text("utf-8")]
    assert importing == []
