"""Recognise modules that PyTorch has quantised."""

from __future__ import annotations

from torch import nn

from edgeproof_runtime.errors import InputError

__all__ = ["fake_quantisers", "refuse_quantised"]

_QUANTISED = ("torch.ao.nn.quantized", "torch.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torchao.")
_SHOWN = 3


def refuse_quantised(module: nn.Module, spec: str) -> None:
    """Refuse modules whose arithmetic is int8 in PyTorch's own kernels, which have no ONNX form.

    Raises:
        InputError: names the quantised layers.
    """
    found = [
        f"{name or 'the model'} ({type(part).__name__})"
        for name, part in module.named_modules()
        if _is_quantised(type(part)) or any(_is_quantised(type(tensor)) for tensor in part.parameters(recurse=False))
    ]
    if found:
        kinds = {type(part).__module__ for _, part in module.named_modules()}
        how = "dynamically quantised" if any(".dynamic" in kind for kind in kinds) else "quantised"
        raise InputError(
            f"{spec}: {how} by PyTorch, whose int8 kernels cannot be exported",
            got=f"{len(found)} layers: {', '.join(found[:_SHOWN])}" + (", ..." if len(found) > _SHOWN else ""),
            expected="the float model that was quantised",
            fix="export the float model, then edgeproof optimize BUNDLE --data DATA --precision int8",
        )


def fake_quantisers(module: nn.Module) -> int:
    """Return the number of fake-quantisers of quantisation-aware training."""
    return sum(any(base.__name__ == "FakeQuantizeBase" for base in type(part).__mro__) for part in module.modules())


def _is_quantised(kind: type) -> bool:
    # Scale and zero point alone (`QuantStub`) stand outside these packages.
    return any(base.__module__.startswith(_QUANTISED) for base in kind.__mro__)
