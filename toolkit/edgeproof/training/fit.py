"""One training run: Lightning's trainer, its checkpoints and logs, and its stop conditions."""

from __future__ import annotations

import csv
import errno
import io
import os
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from edgeproof.training.module import DivergedError, TrainedModule
from edgeproof.training.options import TrainOptions
from edgeproof.training.recipes import Progress
from edgeproof_export.quietly import quiet
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.files import write_atomically

__all__ = ["BEST", "LAST", "Fitted", "fit", "prepare_folder"]

BEST, LAST, LOG = "best.ckpt", "last.ckpt", "metrics.csv"
_TENSORBOARD = "tensorboard"
_STATES = {"sgd": 1, "adam": 2, "adamw": 2}  # tensors that an optimiser keeps per parameter


@dataclass(frozen=True, slots=True)
class Fitted:
    """Results of a training run.

    Attributes:
        best: path of the best checkpoint, with weights and blueprint.
        history: one row of figures per epoch, including the epochs before a resume.
        steps: optimiser steps in total.
        elapsed_s: wall time of this run, seconds.
        cpu_s: user and system time of this process in this run, seconds.
        first: whether this process is the first of a distributed training.
        device: number and type of the devices, as text.
    """

    best: Path
    history: tuple[dict[str, float], ...]
    steps: int
    elapsed_s: float
    cpu_s: float
    first: bool
    device: str


def prepare_folder(options: TrainOptions) -> None:
    """Create or clear the output folder of a training.

    Call it before long work starts but after the dataset was found: a mistyped path must neither leave a folder nor,
    with ``--force``, delete an earlier training.

    Raises:
        InputError: the folder is not empty, there is nothing to resume, or it cannot be written.
    """
    out = options.out
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: not a folder", got="a file", expected="a folder, or a path that does not exist")
    if options.resume:
        if not (out / LAST).is_file():
            raise InputError(f"{out}: nothing to resume", expected=LAST, fix="omit --resume")
        return
    # In a distributed training, the other processes find files that the first has already written.
    first = "LOCAL_RANK" not in os.environ and os.environ.get("NODE_RANK", "0") == "0"
    if first and out.is_dir() and any(out.iterdir()):
        if not options.force:
            raise InputError(
                f"{out}: not empty",
                fix="--resume to continue its training, --force to replace it, or another --out",
            )
        # A checkpoint of the earlier training must not be mistaken for one of this.
        for name in (BEST, LAST, LOG):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / _TENSORBOARD, ignore_errors=True)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written", got=error.strerror) from error
    if not os.access(out, os.W_OK):
        raise InputError(f"{out}: cannot be written", got="no permission")


class _History(L.Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Figures of each epoch, in the checkpoint and as CSV; reports the progress."""

    def __init__(self, out: Path, tell: Progress) -> None:
        self.rows: list[dict[str, float]] = []
        self._out, self._tell = out, tell
        self._began = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        del trainer, pl_module
        self._began = time.monotonic()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        del pl_module, outputs, batch
        total = int(trainer.num_training_batches)
        done = min(batch_idx + 1, total - 1)  # the epoch ends with its validation
        self._tell(f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}", done, total)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        del pl_module
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        taken = time.monotonic() - self._began
        self.rows.append(
            {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **figures, "lr": rate, "epoch_s": taken}
        )
        total = int(trainer.num_training_batches)
        self._tell(f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}", total, total)
        if trainer.is_global_zero:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(dict.fromkeys(name for row in self.rows for name in row)), restval="")
            writer.writeheader()
            writer.writerows(self.rows)
            write_atomically(self._out / LOG, text.getvalue().encode())


def fit(
    module: TrainedModule,
    data: L.LightningDataModule,
    options: TrainOptions,
    *,
    epochs: int,
    tell: Progress,
    monitor: tuple[str, str] = ("val_loss", "min"),
    callbacks: Sequence[L.Callback] = (),
) -> Fitted:
    """Train a module.

    Args:
        module: module to train in place; it ends with the last weights, and the best are in the checkpoint.
        data: training and validation batches.
        options: options of the training.
        epochs: number of epochs.
        tell: progress callback.
        monitor: figure that selects the best checkpoint, and whether ``min`` or ``max`` is better.
        callbacks: additional Lightning callbacks.

    Raises:
        DivergedError: the loss is not finite; the last good checkpoints stay.
        InputError: the disk is full.
        UnavailableError: the device is not available.
    """
    out = options.out
    _require_space(module, out)
    name, mode = monitor
    history = _History(out, tell)
    keep = {"dirpath": out, "enable_version_counter": False, "auto_insert_metric_name": False}
    watching = [
        history,
        ModelCheckpoint(filename="best", monitor=name, mode=mode, save_top_k=1, save_weights_only=True, **keep),
        ModelCheckpoint(filename="last", save_top_k=1, save_on_train_epoch_end=True, **keep),
        *callbacks,
    ]
    if options.patience is not None:
        watching.append(EarlyStopping(monitor=name, mode=mode, patience=options.patience))
    several = options.devices * options.nodes > 1
    with quiet():
        try:
            trainer = L.Trainer(
                accelerator=options.device,
                devices=options.devices,
                num_nodes=options.nodes,
                strategy="ddp" if several else "auto",
                max_epochs=epochs,
                limit_train_batches=options.steps or 1.0,
                callbacks=watching,
                logger=TensorBoardLogger(out, name=_TENSORBOARD, version=""),
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                log_every_n_steps=10,
                deterministic="warn",
            )
        except MisconfigurationException as error:
            raise UnavailableError(
                "--device, --devices or --nodes: not available on this machine",
                got=error,
                fix="--device cpu --devices 1",
            ) from error
        began, used = time.monotonic(), _cpu_s()
        try:
            trainer.fit(module, datamodule=data, ckpt_path=out / LAST if options.resume else None, weights_only=True)
        except DivergedError as error:
            raise _with_checkpoint(error, out) from error
        except SystemExit:  # Lightning's response to an interrupt
            raise KeyboardInterrupt from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(
                    f"{out}: disk full",
                    got=error.strerror,
                    expected="space for two checkpoints",
                    fix=f"free space, then {'--resume' if (out / LAST).is_file() else 'start again'}",
                ) from error
            raise
    return Fitted(
        best=out / BEST,
        history=tuple(history.rows),
        steps=trainer.global_step,
        elapsed_s=time.monotonic() - began,
        cpu_s=_cpu_s() - used,
        first=trainer.is_global_zero,
        device=f"{options.devices * options.nodes} x {trainer.strategy.root_device}",
    )


def _with_checkpoint(error: DivergedError, out: Path) -> DivergedError:
    kept = [str(out / name) for name in (BEST, LAST) if (out / name).is_file()]
    what = f"last good checkpoints: {', '.join(kept)}" if kept else "no checkpoint: no epoch was finished"
    return DivergedError(f"{error.what}; {what}", got=error.got, fix=error.fix)


def _require_space(module: TrainedModule, out: Path) -> None:
    tensors = sum(p.numel() * p.element_size() for p in (*module.parameters(), *module.buffers()))
    # best, last with its optimiser, and a second copy of the larger during its replacement
    needed = tensors * (3 + 2 * _STATES[module.settings.optimizer]) + 2**20
    free = shutil.disk_usage(out).free
    if free < needed:
        raise InputError(
            f"{out}: too little disk space for the checkpoints",
            got=f"{free / 2**20:.0f} MiB free",
            expected=f"{needed / 2**20:.0f} MiB",
            fix="free space, or choose another --out",
        )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
