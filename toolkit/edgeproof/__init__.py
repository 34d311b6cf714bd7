"""From a trained PyTorch model to frames per second that you can prove.

What the command line does, the functions of the same names do in Python: they take plain arguments, return a report
(or a bundle together with its report) and print nothing. They are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from edgeproof_runtime import (
    Bundle,
    Classifier,
    EdgeproofError,
    GateError,
    InputContract,
    InputError,
    Prediction,
    Preprocessor,
    UnavailableError,
)

if TYPE_CHECKING:
    from edgeproof.fleet.agent import agent
    from edgeproof.fleet.transfer import pull, push
    from edgeproof.library.bench import bench
    from edgeproof.library.compare import compare
    from edgeproof.library.compile import compile_ as compile  # noqa: A004 - as `re.compile`
    from edgeproof.library.evaluate import evaluate
    from edgeproof.library.evaluate_all import evaluate_all
    from edgeproof.library.label import label
    from edgeproof.library.optimize import optimize
    from edgeproof.library.run import run
    from edgeproof.library.sample import sample
    from edgeproof.library.sign import sign
    from edgeproof.library.triton import triton
    from edgeproof.library.tune import tune
    from edgeproof.library.verify import verify
    from edgeproof.training import TrainOptions, train
    from edgeproof_export import export_bundle as export

__all__ = [
    "Bundle",
    "Classifier",
    "EdgeproofError",
    "GateError",
    "InputContract",
    "InputError",
    "Prediction",
    "Preprocessor",
    "TrainOptions",
    "UnavailableError",
    "__version__",
    "agent",
    "bench",
    "compare",
    "compile",
    "evaluate",
    "evaluate_all",
    "export",
    "label",
    "optimize",
    "pull",
    "push",
    "run",
    "sample",
    "sign",
    "train",
    "triton",
    "tune",
    "verify",
]

__version__ = metadata.version("edgeproof")

_LAZY = {
    "TrainOptions": "edgeproof.training:TrainOptions",
    "agent": "edgeproof.fleet.agent:agent",
    "bench": "edgeproof.library.bench:bench",
    "compare": "edgeproof.library.compare:compare",
    "compile": "edgeproof.library.compile:compile_",
    "evaluate": "edgeproof.library.evaluate:evaluate",
    "evaluate_all": "edgeproof.library.evaluate_all:evaluate_all",
    "export": "edgeproof_export:export_bundle",
    "label": "edgeproof.library.label:label",
    "optimize": "edgeproof.library.optimize:optimize",
    "pull": "edgeproof.fleet.transfer:pull",
    "push": "edgeproof.fleet.transfer:push",
    "run": "edgeproof.library.run:run",
    "sample": "edgeproof.library.sample:sample",
    "sign": "edgeproof.library.sign:sign",
    "train": "edgeproof.training:train",
    "triton": "edgeproof.library.triton:triton",
    "tune": "edgeproof.library.tune:tune",
    "verify": "edgeproof.library.verify:verify",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    found = globals()[name] = getattr(import_module(module), attribute)
    return found
