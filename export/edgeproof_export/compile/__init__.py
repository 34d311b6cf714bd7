"""Compile the models of a bundle into engines, one module per target."""

from edgeproof_export.compile.keep import Compiled, compile_bundle
from edgeproof_export.compile.options import BuildOptions, parse_batch, parse_gpus
from edgeproof_export.compile.watch import BuildWatch

__all__ = [
    "BuildOptions",
    "BuildWatch",
    "Compiled",
    "compile_bundle",
    "parse_batch",
    "parse_gpus",
]
