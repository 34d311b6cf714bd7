"""Say where a lower precision is slower than fp32 on this machine, with both figures and the reason."""

from __future__ import annotations

from collections.abc import Sequence

from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.row import EngineRow

__all__ = ["has_instructions", "not_worth_it"]

# Instruction sets that compute in a precision, named as in `host.cpu_features`. F16C only converts.
_INSTRUCTIONS = {
    "fp16": ("avx512_fp16", "amx_fp16", "neon-fp16"),
    "int8": ("avx_vnni", "avx512_vnni", "amx_int8", "neon-dotprod", "neon-i8mm"),
}
_NO_INSTRUCTIONS = {
    "fp16": "this CPU has no fp16 arithmetic (AVX512-FP16, AMX-FP16 or NEON's)",
    "int8": "this CPU has no int8 instructions (VNNI, AMX or dot product)",
}


def has_instructions(precision: str, features: Sequence[str]) -> bool:
    """Return whether a CPU computes in this precision; every CPU does in fp32.

    Args:
        precision: fp32, fp16 or int8.
        features: from `host.cpu_features`.
    """
    return precision == "fp32" or any(name in features for name in _INSTRUCTIONS[precision])


def not_worth_it(rows: Sequence[EngineRow], features: Sequence[str]) -> list[str]:
    """Write a sentence for each lower precision whose fastest candidate is slower than fp32's fastest.

    Args:
        rows: measured in interleaved rounds; a row without a precision counts as fp32.
        features: from `host.cpu_features`.

    Returns:
        Such as "int8 is not worth it here: 7.90 ms (onnxruntime) against 6.10 ms in fp32 (openvino); this CPU has no
        int8 instructions (VNNI, AMX or dot product)."
    """
    fastest = {precision: _fastest(rows, precision) for precision in ("fp32", *_INSTRUCTIONS)}
    plain = fastest["fp32"]
    found = []
    for precision, instructions in _INSTRUCTIONS.items():
        lower = fastest[precision]
        if plain is None or lower is None or _ms(lower) < _ms(plain):
            continue
        sentence = (
            f"{precision} is not worth it here: {_ms(lower):.2f} ms ({lower.name}) against "
            f"{_ms(plain):.2f} ms in fp32 ({plain.name})"
        )
        if catalog.find(lower.name).device == "cpu":
            present = [name for name in instructions if name in features]
            sentence += f"; this CPU has {', '.join(present)}, yet" if present else f"; {_NO_INSTRUCTIONS[precision]}"
            sentence += " this model gains nothing from it" if present else ""
        found.append(f"{sentence}.")
    return found


def _fastest(rows: Sequence[EngineRow], precision: str) -> EngineRow | None:
    measured = [r for r in rows if (r.precision or "fp32") == precision and r.median_ms is not None and r.passed]
    return min(measured, key=_ms, default=None)


def _ms(row: EngineRow) -> float:
    return row.median_ms if row.median_ms is not None else float("inf")
