"""One training run: Lightning's trainer, its checkpoints and logs, and what stops it."""

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
from edgeproof_export.models import quiet
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.files import write_atomically

__all__ = ["BEST", "LAST", "Fitted", "fit", "prepare_folder"]

BEST, LAST, LOG = "best.ckpt", "last.ckpt", "metrics.csv"
_TENSORBOARD = "tensorboard"
_STATES = {"sgd": 1, "adam": 2, "adamw": 2}  # tensors that an optimiser keeps per parameter


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a run left.

    Attributes:
        best: path of the best checkpoint: weights and blueprint.
        history: one row of figures per epoch, the epochs before a resume included.
        steps: optimiser steps in all.
        elapsed_s: wall time of this run.
        cpu_s: user and system time of this process in this run.
        first: whether this process is the first of a distributed training.
        device: where it ran, for people.
    """

    best: Path
    history: tuple[dict[str, float], ...]
    steps: int
    elapsed_s: float
    cpu_s: float
    first: bool
    device: str


def prepare_folder(options: TrainOptions) -> None:
    """Make the folder of a training, before anything long is done, but only once its data were found: a wrong path
    must neither leave a folder nor cost, with ``--force``, the training that is there.

    Raises:
        InputError: it holds something already, there is nothing to resume, or it cannot be written.
    """
    out = options.out
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", expected="a folder, or a name that is free")
    if options.resume:
        if not (out / LAST).is_file():
            raise InputError(f"there is nothing to resume in {out}", expected=LAST, fix="leave --resume out")
        return
    # The other processes of a distributed training find what the first one has begun to write.
    first = "LOCAL_RANK" not in os.environ and os.environ.get("NODE_RANK", "0") == "0"
    if first and out.is_dir() and any(out.iterdir()):
        if not options.force:
            raise InputError(
                f"{out} is not empty",
                fix="--resume to go on with its training, --force to replace it, or another --out",
            )
        # A checkpoint of the training before must never pass for one of this.
        for name in (BEST, LAST, LOG):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / _TENSORBOARD, ignore_errors=True)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be written", got=error.strerror) from error
    if not os.access(out, os.W_OK):
        raise InputError(f"{out} cannot be written", got="no permission")


class _History(L.Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Figures of each epoch, in the checkpoint and as CSV; tells the progress."""

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
        done = min(batch_idx + 1, total - 1)  # the epoch is over when its validation is
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
    """Train.

    Args:
        module: changed in place; holds the last weights afterwards, the best are in the checkpoint.
        data: with training and validation batches.
        options: of the person.
        epochs: settled.
        tell: progress.
        monitor: which figure the best checkpoint has, and whether ``min`` or ``max`` is better.
        callbacks: further ones.

    Raises:
        DivergedError: the loss is no number any more; the last good checkpoint stays.
        InputError: the disk is full.
        UnavailableError: the device is not there.
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
            raise UnavailableError("this machine cannot train so", got=error, fix="--device cpu --devices 1") from error
        began, used = time.monotonic(), _cpu_s()
        try:
            trainer.fit(module, datamodule=data, ckpt_path=out / LAST if options.resume else None, weights_only=True)
        except DivergedError as error:
            raise _with_checkpoint(error, out) from error
        except SystemExit:  # how Lightning ends when it is interrupted
            raise KeyboardInterrupt from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(
                    f"the disk of {out} is full",
                    got=error.strerror,
                    expected="room for two checkpoints",
                    fix=f"make room, then --resume{'' if (out / LAST).is_file() else ' is not possible: start again'}",
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
    what = f"the last good checkpoints stay: {', '.join(kept)}" if kept else "no epoch was finished, so no checkpoint"
    return DivergedError(f"{error.what}; {what}", got=error.got, fix=error.fix)


def _require_space(module: TrainedModule, out: Path) -> None:
    tensors = sum(p.numel() * p.element_size() for p in (*module.parameters(), *module.buffers()))
    # best, last with its optimiser, and a second copy of the larger while it is being replaced
    needed = tensors * (3 + 2 * _STATES[module.settings.optimizer]) + 2**20
    free = shutil.disk_usage(out).free
    if free < needed:
        raise InputError(
            f"the disk of {out} is too full for the checkpoints",
            got=f"{free / 2**20:.0f} MiB free",
            expected=f"{needed / 2**20:.0f} MiB",
            fix="make room, or choose another --out",
        )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
