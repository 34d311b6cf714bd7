"""A drawing of what a contract keeps of a frame, for notebooks."""

from __future__ import annotations

from html import escape

from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.region import tensor_region

__all__ = ["html_of"]

_FRAME = 480, 640  # height and width of the frame that is drawn
_SCALE = 0.35
_GAP, _TEXT, _LABEL = 70.0, 16.0, 110.0


def html_of(contract: InputContract) -> str:
    """Draw a camera frame of 640x480, the part that becomes the tensor, and the tensor; add the contract's summary.

    A part that reaches beyond the frame is padding.
    """
    region = tensor_region(contract, *_FRAME)
    height, width = (_SCALE * side for side in _FRAME)
    left, top = min(0.0, region.left) * _SCALE, min(0.0, region.top) * _SCALE
    right = max(width, (region.left + region.width) * _SCALE)
    bottom = max(height, (region.top + region.height) * _SCALE)
    rows, columns = contract.tensor_size
    shrink = min(_SCALE, height / rows, width / columns)
    beside = right + _GAP
    across = beside + max(columns * shrink, _LABEL) - left + 2
    canvas = left - 1, top - _TEXT - 4, across, bottom - top + _TEXT + 6
    middle = height / 2
    kept = _box(region.left * _SCALE, region.top * _SCALE, region.width * _SCALE, region.height * _SCALE, "#4c84d6")
    text = f'" y="{top - 6:.1f}" style="font:12px system-ui,sans-serif;fill:currentColor">'
    return "".join(
        [
            f'<div><svg xmlns="http://www.w3.org/2000/svg" viewBox="{" ".join(f"{v:.1f}" for v in canvas)}"',
            f' width="{canvas[2]:.0f}" height="{canvas[3]:.0f}" role="img" aria-label="{escape(contract.summary())}">',
            _box(0, 0, width, height, "none"),
            kept,
            f'<text x="{left:.1f}{text}frame {_FRAME[1]}x{_FRAME[0]}, kept part</text>',
            f'<path d="M{right + 14:.1f} {middle:.1f} h{_GAP - 28:.1f} m-7 -5 l7 5 l-7 5" fill="none"',
            ' stroke="currentColor"/>',
            _box(beside, middle - rows * shrink / 2, columns * shrink, rows * shrink, "#4c84d6"),
            f'<text x="{beside:.1f}{text}tensor {columns}x{rows}</text></svg>',
            f"<div>{escape(contract.summary())}</div></div>",
        ]
    )


def _box(left: float, top: float, width: float, height: float, fill: str) -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"'
        ' fill-opacity="0.25" stroke="currentColor"/>'
    )
