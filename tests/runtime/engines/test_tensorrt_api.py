"""Every attribute of TensorRT that edgeproof uses, against what each version's Python binding has.

``tensorrt_api.json`` was read off NVIDIA's wheels: each binding was imported over empty libraries in place of
TensorRT's own, which gives its classes without a GPU or the library. See docs/tensorrt.md.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import pytest

import edgeproof_export
import edgeproof_runtime

RUNTIME = Path(edgeproof_runtime.__file__).parent / "engines"
COMPILE = Path(edgeproof_export.__file__).parent / "compile"
SURFACE: dict[str, list[str]] = json.loads(Path(__file__).with_name("tensorrt_api.json").read_text())

# Variable in our sources -> TensorRT's class. The files are small enough that a name means one thing in each.
VARIABLES = {
    RUNTIME / "tensorrt.py": {
        "runtime": "Runtime",
        "engine": "ICudaEngine",
        "self._engine": "ICudaEngine",
        "context": "IExecutionContext",
        "lane.context": "IExecutionContext",
        "self._trt": "",
        "timed._lanes.of(len(batch)).context": "IExecutionContext",
        "trt": "",
    },
    RUNTIME / "_outputs.py": {"context": "IExecutionContext", "trt": ""},
    RUNTIME / "_jit_cache.py": {
        "engine": "ICudaEngine",
        "config": "IRuntimeConfig",
        "cache": "IRuntimeCache",
        "self._cache": "IRuntimeCache",
        "trt": "",
    },
    RUNTIME / "_trt.py": {
        "engine": "ICudaEngine",
        "engine.create_engine_inspector()": "EngineInspector",
        "trt": "",
    },
    COMPILE / "tensorrt.py": {
        "trt": "",
        "builder": "Builder",
        "network": "INetworkDefinition",
        "config": "IBuilderConfig",
        "config.get_timing_cache()": "ITimingCache",
        "parser": "OnnxParser",
        "parser.get_error(i)": "ParserError",
        "shapes": "IOptimizationProfile",
        "flags": "NetworkDefinitionCreationFlag",
        "tensor": "ITensor",
    },
    COMPILE / "target.py": {"trt": ""},
    COMPILE / "watch.py": {"trt": ""},
    COMPILE / "lint.py": {"trt": "", "parser": "OnnxParser", "parser.get_error(i)": "ParserError"},
}

# What not every version has, and how the sources ask before they use it.
GUARDS = {
    "BuilderFlag.FP16": 'hasattr(trt.BuilderFlag, "FP16")',
    "BuilderFlag.INT8": 'hasattr(trt.BuilderFlag, "FP16")',
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": 'hasattr(trt.BuilderFlag, "FP16")',
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": 'hasattr(flags, "STRONGLY_TYPED")',
    "HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY": "hasattr(trt.HardwareCompatibilityLevel, level)",
    "IBuilderConfig.progress_monitor": 'hasattr(config, "progress_monitor")',
    "IProgressMonitor": 'hasattr(config, "progress_monitor")',
    "IBuilderConfig.num_compute_capabilities": "target.gpu is None",
    "IBuilderConfig.set_compute_capability": "target.gpu is None",
    "ComputeCapability": "builds_without_gpu",
    "OnnxParser.supports_model_v2": 'hasattr(parser, "supports_model_v2")',
    "OnnxParser.num_subgraphs": 'hasattr(parser, "supports_model_v2")',
    "OnnxParser.is_subgraph_supported": 'hasattr(parser, "supports_model_v2")',
    "OnnxParser.get_subgraph_nodes": 'hasattr(parser, "supports_model_v2")',
    "ICudaEngine.create_runtime_config": 'hasattr(engine, "create_runtime_config")',
    "IRuntimeConfig.create_runtime_cache": 'hasattr(config, "create_runtime_cache")',
    "IRuntimeConfig.set_runtime_cache": 'hasattr(config, "create_runtime_cache")',
    "IRuntimeConfig.cuda_graph_strategy": 'hasattr(config, "cuda_graph_strategy")',
    "IRuntimeCache.serialize": 'hasattr(config, "create_runtime_cache")',
    "IRuntimeCache.deserialize": 'hasattr(config, "create_runtime_cache")',
    "CudaGraphStrategy": 'hasattr(config, "cuda_graph_strategy")',
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE": 'hasattr(config, "cuda_graph_strategy")',
}

# Used through a name that is computed, or overridden, which the syntax does not show.
BY_NAME = {
    "IProfiler.report_layer_time",
    "BuilderFlag.FP16",
    "BuilderFlag.INT8",
    "HardwareCompatibilityLevel.AMPERE_PLUS",
    "HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY",
}


def used() -> set[str]:
    """``Class.attribute``, or ``Class`` alone, as the sources use them."""
    found = set(BY_NAME)
    for path, variables in VARIABLES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute) or node.attr.startswith("__"):
                continue
            base = ast.unparse(node.value)
            owner, _, rest = base.partition(".")
            if base in variables:
                found.add(f"{variables[base]}.{node.attr}".lstrip("."))
            elif owner == "trt" and rest:
                found.add(f"{rest}.{node.attr}")
    return {name for name in found if "__" not in name and name.count(".") < 2}


def versions_with(name: str) -> list[str]:
    return [version for version, names in SURFACE.items() if name in names]


def test_the_table_covers_the_versions_that_are_supported() -> None:
    versions = set(SURFACE)
    assert {"tensorrt 8.6.1", "tensorrt 10.3.0", "tensorrt 11.4.0.106", "tensorrt_rtx 1.7.1.116"} <= versions
    assert len(versions) >= 12


@pytest.mark.parametrize("name", sorted(used()))
def test_each_attribute_is_in_every_version_or_asked_for_first(name: str) -> None:
    has = versions_with(name)
    assert has, f"no version has {name}"
    if len(has) == len(SURFACE):
        return
    lacking = sorted(set(SURFACE) - set(has))
    assert name in GUARDS, f"{name} is not in {lacking}, and nothing asks before it is used"
    text = "\n".join(path.read_text() for path in VARIABLES)
    assert GUARDS[name] in text


def test_no_guard_is_left_over() -> None:
    assert set(GUARDS) <= used()
    assert [name for name in GUARDS if len(versions_with(name)) == len(SURFACE)] == []


def test_nothing_that_newer_versions_dropped_is_used() -> None:
    dropped = {"execute_async", "execute_async_v2", "build_engine", "get_binding_shape", "set_binding_shape"}
    text = "\n".join(path.read_text() for path in VARIABLES)
    assert not [name for name in dropped if f".{name}(" in text]


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx-cu13 is not installed")
def test_the_installed_binding_has_what_the_table_says() -> None:
    import tensorrt_rtx

    row = SURFACE.get(f"tensorrt_rtx {tensorrt_rtx.__version__}")
    if row is None:
        pytest.skip(f"the table has no tensorrt_rtx {tensorrt_rtx.__version__}")
    for name in used():
        owner, _, attribute = name.partition(".")
        holder = getattr(tensorrt_rtx, owner, None)
        found = holder is not None and (not attribute or hasattr(holder, attribute))
        assert found == (name in row), name
