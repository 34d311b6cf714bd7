"""What packages say of themselves: licences, versions, man page, completion, containers."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HELP = """\
Usage: edgeproof-run BUNDLE --source SRC [options]
       edgeproof-run BUNDLE --verify [options]

Run a bundle, without Python.

  --source SRC          0, clip.mp4, 'clips/*.mp4', - (standard input);
                        or '... ! appsink'
  --engine E            openvino|opencv|auto: the first of these
  --crop X,Y,WIDTH,HEIGHT
                        use only this part
  --unknown SCORE:LIMIT say unknown below a score
  --json FILE           write the report
  --version, --help

Exit codes: 0 success, 3 not available on this machine or in this build, 70 a fault of the program.

Examples:
  edgeproof-run model.edge --source 0
"""


def manual() -> ModuleType:
    path = ROOT / "scripts/device_manual.py"
    spec = importlib.util.spec_from_file_location("device_manual", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def words(text: str) -> str:
    return re.sub(r"\\f[BIR]", "", text).replace("\\-", "-").replace("\\(aq", "'").replace("\\&", "")


def test_licences_are_those_of_what_is_compiled_in() -> None:
    nanobind = metadata.distribution("nanobind")
    texts = {str(file): file.locate() for file in nanobind.files or ()}
    (licence,) = (Path(str(path)) for name, path in texts.items() if name.endswith("licenses/LICENSE"))
    assert (ROOT / "licenses/nanobind.txt").read_text() == licence.read_text()
    (header,) = (Path(str(path)) for name, path in texts.items() if name.endswith("tsl/robin_map.h"))
    written = re.sub(r"^ \* ?", "", header.read_text().partition("*/")[0].replace("/**\n", ""), flags=re.MULTILINE)
    assert (ROOT / "licenses/robin_map.txt").read_text().split() == written.split()
    assert set(PROJECT["project"]["license-files"]) == {"LICENSE", "licenses/*.txt"}


def test_cmake_takes_the_version_from_the_project(device_program: Path) -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert not re.search(r"project\(edgeproof VERSION [0-9]", cmake)
    done = subprocess.run([device_program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == PROJECT["project"]["version"]


def test_stable_abi_is_that_of_nanobind() -> None:
    assert PROJECT["tool"]["scikit-build"]["wheel"]["py-api"] == "cp312"
    assert " STABLE_ABI " in (ROOT / "CMakeLists.txt").read_text()
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    builds = PROJECT["tool"]["cibuildwheel"]["build"].split()
    assert builds == [f"cp{version.replace('.', '')}-manylinux_*" for version in (oldest, "3.11", "3.12")]


def test_help_becomes_options() -> None:
    options = {", ".join(option.names): (option.value, option.text) for option in manual().options_of(HELP)}
    assert options == {
        "--source": ("SRC", "0, clip.mp4, 'clips/*.mp4', - (standard input); or '... ! appsink'"),
        "--engine": ("E", "openvino|opencv|auto: the first of these"),
        "--crop": ("X,Y,WIDTH,HEIGHT", "use only this part"),
        "--unknown": ("SCORE:LIMIT", "say unknown below a score"),
        "--json": ("FILE", "write the report"),
        "--version, --help": ("", ""),
    }


def test_man_page_says_what_help_says() -> None:
    page = words(manual().man_page(HELP, "1.2.3"))
    for text in ("--crop X,Y,WIDTH,HEIGHT", "say unknown below a score", "edgeproof 1.2.3", "model.edge --source 0"):
        assert text in page
    codes = re.findall(r"^\.B (\d+)\n(.+)", page, re.MULTILINE)
    meanings = [
        ("0", "success"),
        ("3", "not available on this machine or in this build"),
        ("70", "a fault of the program"),
    ]
    assert codes == meanings


def complete(script: Path, *line: str, cwd: Path) -> list[str]:
    """What bash offers for the last word of a command line."""
    asked = f"source {script}; COMP_WORDS=(edgeproof-run {' '.join(line)}); COMP_CWORD={len(line)}; _edgeproof_run"
    printed = 'printf "%s\\n" "${COMPREPLY[@]}"'
    command = ["bash", "-c", f"{asked}; {printed}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd).stdout.split()


def test_bash_completes_options_engines_files_and_folders(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(manual().completion(HELP))
    (tmp_path / "model.edge").mkdir()
    (tmp_path / "model.json").touch()
    assert complete(script, "--e", cwd=tmp_path) == ["--engine"]
    assert complete(script, "model.edge", "--engine", "openv", cwd=tmp_path) == ["openvino"]
    assert complete(script, "model.edge", "--engine", "op", cwd=tmp_path) == ["openvino", "opencv"]
    assert complete(script, "mod", cwd=tmp_path) == ["model.edge"]
    assert sorted(complete(script, "model.edge", "--json", "mod", cwd=tmp_path)) == ["model.edge", "model.json"]
    assert complete(script, "model.edge", "--crop", "", cwd=tmp_path) == []


def test_the_built_man_page_has_every_option_of_the_program(device_program: Path) -> None:
    built = device_program.with_name("edgeproof-run.1")
    done = subprocess.run([device_program, "--help"], capture_output=True, text=True, check=True)
    page = words(built.read_text())
    named = set(re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE))
    assert len(named) > 20
    assert named <= set(re.findall(r"^(--[a-z-]+)", page, re.MULTILINE))
    version = PROJECT["project"]["version"]
    assert built.read_text() == manual().man_page(done.stdout, version)
    if shutil.which("groff"):
        checked = ["groff", "-man", "-ww", "-Tutf8", "-z", str(built)]
        assert subprocess.run(checked, capture_output=True, text=True, check=True).stderr == ""


DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))


def test_every_dockerfile_is_on_the_page() -> None:
    page = (ROOT / "docs/containers.md").read_text()
    assert DOCKERFILES
    assert all(f"docker/{path.name}" in page for path in DOCKERFILES)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix)
def test_hadolint_finds_nothing(path: Path) -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix)
def test_containers_are_not_root_and_name_extras_that_exist(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1:] == ["10001:10001"]
    (extras,) = re.findall(r"(?:whl\)|/src)\[([a-z0-9,-]+)\]", text)
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def licences_of(folder: Path, *libraries: Path) -> subprocess.CompletedProcess[str]:
    command = [ROOT / "scripts/library-licences.sh", folder, *libraries]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="only Debian and its descendants")
def test_a_copied_library_comes_with_its_licence(tmp_path: Path) -> None:
    (library,) = {path.resolve() for path in Path("/usr/lib").glob("*/libz.so.1")}
    done = licences_of(tmp_path, library)
    assert done.returncode == 0, done.stderr
    assert "Jean-loup Gailly" in (tmp_path / "zlib1g.txt").read_text()
    assert "source zlib " in (tmp_path / "packages.txt").read_text()


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="only Debian and its descendants")
def test_a_library_without_a_licence_is_refused(tmp_path: Path) -> None:
    library = tmp_path / "libunknown.so.1"
    library.touch()
    done = licences_of(tmp_path / "out", library)
    assert done.returncode == 1
    assert f"{library}: no Debian package has this library" in done.stderr
