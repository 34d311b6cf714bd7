# The two commands: `make demo` and `make test`. Both set up .venv themselves.

export PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS := $(shell nproc)
SOURCES := $(shell find runtime/cpp runtime/edgeproof_runtime -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.pyi') CMakeLists.txt

.PHONY: demo site test lint types test-cpp test-app test-python test-pythons test-oldest test-newest test-system-opencv test-quick app wheels packages packages-arm64 check-packages check-wheels-arm64 check-jetson check-service check-agent check-triton bench bench-open gpu-check sweep soak hostile fuzz lock sbom clean

# The development install has all that the demo needs, and must not be replaced by a copy.
demo: $(if $(wildcard $(VENV)/.dev),$(VENV)/.dev,$(VENV)/.demo)
	$(BIN)/edgeproof demo --out edgeproof-demo

test: $(VENV)/.dev lint types test-cpp test-app test-python test-oldest test-newest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

test-cpp: $(VENV)/.dev
	cmake --preset default
	cmake --build --preset default --parallel $(JOBS)
	ctest --preset default

# Its tests run with the Python ones, against the Python runtime.
test-app: $(VENV)/.dev
	scripts/system-packages.sh app
	if [ -d /usr/include/opencv4 ]; then $(MAKE) app; else echo "edgeproof-run is left out: no OpenCV headers here"; fi

# One worker per usable core. A worker without work takes tests from the end of another's list.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-python: $(VENV)/.dev
	$(PYTEST)

# The device's part on every Python from 3.10 on that is here; `make test-pythons PYTHONS="3.10 3.12"` takes these.
PYTHONS ?=
test-pythons:
	scripts/test-pythons.sh $(PYTHONS)

# Quick tests on the oldest Python that a device may have, of the rooms that read and write; all of them: `make test-pythons PYTHONS=3.10`.
test-oldest:
	@. scripts/find-python.sh; if find_python 3.10 >/dev/null; then \
	  scripts/test-pythons.sh 3.10 -- --numprocesses auto --dist worksteal -m "not slow and not serial" \
	    $(addprefix tests/runtime/,bundle data engines evidence sinks system verify); \
	else echo "the runtime's tests on Python 3.10 are left out: it is not here (PATH, pyenv)"; fi

# What reads and writes videos, on the newest Python here, for which pip installs the newest PyAV.
test-newest:
	@. scripts/find-python.sh; for version in 3.14 3.13 3.12; do if find_python $$version >/dev/null; then \
	  scripts/test-pythons.sh $$version -- --numprocesses auto --dist worksteal -m "not slow and not serial" \
	    $(addprefix tests/runtime/,contract sinks sources); exit; fi; done; \
	  echo "the runtime's tests on a newer Python are left out: 3.12 to 3.14 are not here (PATH, pyenv)"

# An agent that is killed at 50 random moments. Needs docker-registry.
check-agent: $(VENV)/.dev
	scripts/system-packages.sh test
	$(BIN)/python tests/kill_agent.py build/check-agent --kills 50

# A service that hangs and one whose camera is away, under a systemd of their own. As root.
check-service: $(VENV)/.dev
	PYTHON=$(BIN)/python scripts/check-service.sh

# Repositories of `edgeproof triton` in a real Triton, on the CPU and on loopback.
check-triton: $(VENV)/.dev
	PYTHON=$(BIN)/python scripts/check-triton.sh

# Sources, sinks and pipelines on the system's OpenCV, of which GStreamer pipelines run for real.
SYSTEM_PYTHON ?= /usr/bin/python3
test-system-opencv:
	PYTHON=$(SYSTEM_PYTHON) scripts/test-system-opencv.sh

# The documentation as a site that opens from build/site/index.html; a warning fails it. The variable silences an advertisement.
site: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# After each edit: the layers' tests that take less than a second each.
test-quick: $(VENV)/.dev
	$(PYTEST) -m "not slow and not serial" tests/runtime tests/export tests/toolkit

app: $(VENV)/.dev
	scripts/system-packages.sh app
	cmake --preset app
	cmake --build --preset app --parallel $(JOBS)

# sdist and wheels into dist/, built, checked and tried; `make wheels ARCHITECTURES="x86_64 aarch64"` cross-compiles the others.
ARCHITECTURES ?=
wheels:
	scripts/wheels.sh $(ARCHITECTURES)

# edgeproof-run as a Debian package and as a tarball, into dist/. As root, check-packages installs both in a bare Debian;
# `make check-packages ARCHITECTURE=arm64` those of packages-arm64, under qemu-user.
packages: $(VENV)/.dev
	scripts/system-packages.sh app
	scripts/packages.sh

# The same for arm64, cross-compiled in a Debian in build/cross-arm64. As root.
packages-arm64:
	scripts/packages-arm64.sh build/cross-arm64

BUNDLE ?= edgeproof-demo/efficientnet-lite0.edge
ARCHITECTURE ?=
check-packages:
	scripts/check-packages.sh $(BUNDLE) build/chroot $(ARCHITECTURE)

# As root: preprocessing's golden and bit-exactness tests on dist/'s aarch64 wheels, under qemu-user.
check-wheels-arm64:
	scripts/check-wheels-arm64.sh build/wheels-arm64

# As root: docs/jetson.md's lines, followed in Ubuntu 22.04 and 24.04 with the wheels of dist/.
check-jetson:
	scripts/check-jetson.sh build/jetson $(BUNDLE)

# Every hostile input of tests/hostile, and the table of kinds; `KIND="JSON dialect"` takes those of a kind.
KIND ?=
hostile: $(VENV)/.dev
	cd tests && ../$(BIN)/python -m hostile $(if $(KIND),"$(KIND)")

# What strangers can send: C++ and Python readers, SECONDS in all. An hour: `make fuzz SECONDS=3600`. Without SEED a new one.
SECONDS ?= 300
SEED ?=
fuzz: $(VENV)/.dev
	scripts/fuzz.sh $(SECONDS) $(SEED)

# Each replaces its own tables in benchmarks/RESULTS.md, and says there how long it took. `make bench SHORT=1` shows
# that each works here, and writes nothing. Without our data folder they take the demo's clip.
SHORT ?=
bench: $(VENV)/.dev
	test -d edgeproof-demo/efficientnet-lite0.edge || $(BIN)/edgeproof demo --out edgeproof-demo
	scripts/bench.sh $(BIN)/python $(if $(SHORT),short)

# What opening a bundle and loading its model costs, against another version: BEFORE is a source tree of it, built.
BEFORE ?= ../before
bench-open: $(VENV)/.dev
	$(BIN)/python benchmarks/bundle_open.py --before $(BEFORE) --write

# All that needs an NVIDIA GPU, in under eight minutes; the report is left in build/gpu-check.
gpu-check: $(VENV)/.dev
	$(BIN)/python benchmarks/gpu_check.py

# The smallest member of each of timm's families, an hour on two cores: `make sweep SLICE=1/2` takes half of them. Results
# are kept in build/sweep, so that slices add up and an interrupted run goes on.
SLICE ?= 1/1
sweep: $(VENV)/.dev
	$(BIN)/python benchmarks/sweep.py --slice $(SLICE) --write

# Four RTSP cameras for half an hour, one of them killed twenty times; then `serve` with all its outputs for half an hour. As root,
# `benchmarks/soak.py --faults --minutes 10` has a bad network.
soak: $(VENV)/.dev
	test -d edgeproof-demo/efficientnet-lite0.edge || $(BIN)/edgeproof demo --out edgeproof-demo
	$(BIN)/python benchmarks/reconnect.py --minutes 30
	$(BIN)/python benchmarks/soak.py --minutes 30 --write

# --no-compile: PyTorch's 20,000 files become bytecode when they are first imported, most of them never.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1):" \
	  "development and the demo require Python 3.11 or later. Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	scripts/system-packages.sh python
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml $(SOURCES)
	scripts/system-packages.sh build
	$(BIN)/python -m pip install --quiet --no-compile ".[demo]"
	scripts/ensure-opencv.sh $(BIN)/python
	touch $@

# LOCKED=1: exactly the packages of constraints.txt, each with its hash; pip refuses any other file.
LOCKED ?=
$(VENV)/.dev: $(VENV)/bin/python pyproject.toml $(SOURCES)
	scripts/system-packages.sh build test
ifeq ($(LOCKED),)
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[dev]"
else
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes --requirement constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --no-build-isolation --editable .
endif
	scripts/ensure-opencv.sh $(BIN)/python
	touch $@

# constraints.txt from the versions that are installed; a CycloneDX bill of materials of the environment.
lock: $(VENV)/.dev
	$(BIN)/python scripts/lock.py

sbom: $(VENV)/.dev
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file sbom.json $(BIN)/python

clean:
	rm -rf $(VENV) build edgeproof-demo
