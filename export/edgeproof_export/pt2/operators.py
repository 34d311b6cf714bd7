"""Operators that a graph may call.

PyTorch looks targets up by attributes, from ``torch``, ``math`` and ``operator`` on: ``torch.os.system`` is found too.
"""

from __future__ import annotations

import re

from edgeproof_export.pt2.findings import CodeFound

__all__ = ["SCALAR_ONLY", "SIDE_EFFECTS", "require_operator"]

# Operators of PyTorch that read, write or print instead of computing.
SIDE_EFFECTS = frozenset(["from_file", "save", "_print", "warn", "load_tensor", "read_file", "write_file"])
_KERNEL = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision)"
    r"\.((?!__)\w+|__i?(?:and|or|xor|lshift|rshift)__)\.([A-Za-z]\w*)",
    re.ASCII,
)
# Python's own arithmetic. Its arguments must be numbers: a list times a number allocates memory.
SCALAR_ONLY = re.compile(
    r"_operator\.(eq|ne|le|ge|lt|gt|neg|pos|abs|mul|add|sub|floordiv|mod|truediv|and_|or_|pow|lshift|rshift)"
    r"|math\.(ceil|floor|trunc|sqrt|exp|log|log2|sin|cos|tan)"
    r"|torch\.(sym_not|sym_int|sym_float|sym_ite|sym_max|sym_min|sym_sqrt|sym_sum|_sym_sqrt)"
)
_CONTROL = re.compile(
    r"torch\.ops\.higher_order\.(cond|map_impl|while_loop|scan|associative_scan|strict_mode"
    r"|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|torch\._C\._set_grad_enabled|torch\.amp\.autocast_mode\._(enter|exit)_autocast"
)


def require_operator(target: str) -> str:
    """Return the target of a call.

    Raises:
        CodeFound: it is no operator of PyTorch's own that only computes.
    """
    kernel = _KERNEL.fullmatch(target)
    computes = kernel is not None and kernel[2] not in SIDE_EFFECTS
    if not computes and not SCALAR_ONLY.fullmatch(target) and not _CONTROL.fullmatch(target):
        raise CodeFound(f"call of {target[:80]!r}")
    return target
