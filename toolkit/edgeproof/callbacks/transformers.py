"""Export when a training by Hugging Face's Trainer ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof_runtime.errors import UnavailableError

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    raise UnavailableError(
        "EdgeproofExport: requires transformers, not installed", fix='pip install "edgeproof[hf]"'
    ) from error

if TYPE_CHECKING:
    from edgeproof_export import Exported

__all__ = ["EdgeproofExport"]


class EdgeproofExport(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Export the trained classifier at the end of ``Trainer.train``, on the first process only.

    With ``load_best_model_at_end`` these are the best weights. The labels are those of the model's configuration.

    Args:
        out: the bundle to write, ``NAME.edge``; replaced if it exists.
        options: further arguments of `edgeproof.export`; ``transform`` is the Trainer's ``processing_class``, unless
            it is given.

    Attributes:
        exported: bundle and report; None before the end.
    """

    def __init__(self, out: str | Path, **options: Any) -> None:
        self.exported: Exported | None = None
        self._out = out
        self._options = {"force": True, **options}

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Export the model.

        Raises:
            GateError: a gate failed.
            InputError: the model, the processor or the data cannot be used.
        """
        del args, control
        if not state.is_world_process_zero:
            return
        from edgeproof_export import export_bundle

        options = {"transform": kwargs.get("processing_class"), **self._options}
        self.exported = export_bundle(kwargs["model"], self._out, **options)
