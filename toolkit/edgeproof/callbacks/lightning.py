"""Export when a Lightning training ends."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof_runtime.errors import InputError, UnavailableError

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    try:
        from pytorch_lightning import Callback  # type: ignore[import-not-found, no-redef, unused-ignore]
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "EdgeproofExport: requires Lightning, not installed", fix="pip install lightning"
        ) from error

if TYPE_CHECKING:
    from edgeproof_export import Exported

__all__ = ["EdgeproofExport"]


class EdgeproofExport(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Export the trained network at the end of ``trainer.fit``, on the first process only.

    A failed gate raises `GateError` after the training, whose checkpoints are written by then.

    Args:
        out: the bundle to write, ``NAME.edge``; replaced if it exists.
        best: export the weights of the best checkpoint of the trainer's ``ModelCheckpoint``, not the last ones.
        options: further arguments of `edgeproof.export`, such as ``transform``, ``labels`` and ``data``.

    Attributes:
        exported: bundle and report; None before the end.
    """

    def __init__(self, out: str | Path, *, best: bool = False, **options: Any) -> None:
        super().__init__()
        self.exported: Exported | None = None
        self._out = out
        self._best = best
        self._options = {"force": True, **options}

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Export the module.

        Raises:
            GateError: a gate failed.
            InputError: the module, the transform or the data cannot be used.
        """
        if not trainer.is_global_zero:
            return
        from edgeproof_export import export_bundle

        model = _with_best_weights(trainer, pl_module) if self._best else pl_module
        self.exported = export_bundle(model, self._out, **self._options)


def _with_best_weights(trainer: Any, module: Any) -> Any:
    """Return a copy of the module with the weights of the best checkpoint."""
    from edgeproof_export.weights.file import read_weights
    from edgeproof_export.weights.fit import fit_weights

    path = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if not path:
        raise InputError(
            "EdgeproofExport: no best checkpoint",
            got="no ModelCheckpoint, or one that wrote nothing",
            fix="give the Trainer a ModelCheckpoint with monitor, or leave best out",
        )
    found = copy.deepcopy(module)
    fit_weights(found, read_weights(str(path)), ema=False)
    return found
