"""Base of the Lightning modules: input stage, optimiser, blueprint, and the stop at a loss that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from edgeproof.training.options import Optimizer, Schedule, TrainOptions
from edgeproof.training.recipes import Recipe
from edgeproof_export.checkpoint import KEY, Blueprint
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError

__all__ = ["FINE_TUNING_LR", "DivergedError", "OptimiserSettings", "TrainedModule", "input_stage"]

_WARM_UP = {"constant": 0.0, "step": 0.0, "cosine": 0.05, "one-cycle": 0.3}
# Shares of the rate from scratch: a new last layer needs larger steps than a network that only continues.
FINE_TUNING_LR = {"new classes": 0.1, "same classes": 0.01}


class DivergedError(InputError):
    """The loss is not finite."""


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """Optimiser and schedule of a training."""

    optimizer: Optimizer
    lr: float
    momentum: float
    weight_decay: float
    schedule: Schedule

    @classmethod
    def settle(cls, recipe: Recipe, options: TrainOptions, *, lr_factor: float = 1.0) -> OptimiserSettings:
        """Return the settings of the options, else of the recipe, with its learning rate times ``lr_factor``."""
        name = options.optimizer or recipe.optimizer
        rate = options.lr if options.lr is not None else recipe.lr[name] * lr_factor
        decay = recipe.weight_decay if options.weight_decay is None else options.weight_decay
        return cls(name, rate, options.momentum, decay, options.schedule or recipe.schedule)

    def build(self, parameters: Any) -> torch.optim.Optimizer:
        """Build the optimiser over these parameters."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                parameters,
                lr=self.lr,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
                nesterov=self.momentum > 0,
            )
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, lr=self.lr, weight_decay=self.weight_decay)

    def factor(self, total_steps: int) -> Callable[[int], float]:
        """Return the function from step to learning rate as a share of ``lr``: a linear warm-up, then the schedule.

        ``one-cycle`` is Smith's (2018) with a cosine descent. ``step`` divides by ten after half and again after
        three quarters of the steps. The rate depends on the step alone, so a resumed training may be longer.
        """
        warm = int(_WARM_UP[self.schedule] * total_steps)

        def at(step: int) -> float:
            if step < warm:
                return (step + 1) / (warm + 1)
            done = min(1.0, (step - warm) / max(1, total_steps - warm))
            if self.schedule == "constant":
                return 1.0
            if self.schedule == "step":
                return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
            return 0.5 * (1 + math.cos(math.pi * done))

        return at


def input_stage(pictures: Tensor, contract: InputContract) -> Tensor:
    """Apply the contract's float stage ``(x / scale - mean) / std`` to ``N x C x H x W``, on the batch's device."""
    shape = (1, -1, 1, 1)
    mean = torch.tensor(contract.mean, dtype=torch.float32, device=pictures.device).view(shape)
    std = torch.tensor(contract.std, dtype=torch.float32, device=pictures.device).view(shape)
    return (pictures.float() / contract.scale - mean) / std


class TrainedModule(L.LightningModule):  # type: ignore[misc]  # Lightning is untyped here
    """Base class of the training modules.

    Args:
        network: network to export; its tensors are under ``network.`` in the checkpoint.
        blueprint: description that rebuilds the network; written into every checkpoint.
        settings: optimiser and schedule.
    """

    def __init__(self, network: nn.Module, blueprint: Blueprint, settings: OptimiserSettings) -> None:
        super().__init__()
        self.network = network
        self.blueprint = blueprint
        self.settings = settings

    def finite(self, loss: Tensor, name: str = "the loss") -> Tensor:
        """Return the loss if it is finite.

        Raises:
            DivergedError: the loss is not finite; the message names the step.
        """
        if not bool(torch.isfinite(loss).all()):
            where = "in validation after" if self.trainer.validating or self.trainer.sanity_checking else "at"
            raise DivergedError(
                f"training stopped: {name} is not finite",
                got=f"{float(loss.detach().mean())} {where} step {self.global_step}, epoch {self.current_epoch + 1}",
                fix=f"use a lower --lr (now {self.settings.lr:g}), or check the dataset",
            )
        return loss

    def configure_optimizers(self) -> Any:
        """Return one optimiser over the network, and its schedule, stepped every batch."""
        optimiser = self.settings.build(self.network.parameters())
        factor = self.settings.factor(int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Set the learning rate of this run, which replaces that of a resumed optimiser."""
        for config in self.trainer.lr_scheduler_configs:
            schedule = config.scheduler
            schedule.base_lrs = [self.settings.lr] * len(schedule.base_lrs)
            for group, factor in zip(schedule.optimizer.param_groups, schedule.lr_lambdas, strict=True):
                group["initial_lr"] = self.settings.lr
                group["lr"] = self.settings.lr * factor(schedule.last_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the blueprint beside the weights."""
        checkpoint[KEY] = self.blueprint.to_json()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Check that a resumed training has the network and input of its checkpoint.

        Raises:
            InputError: the checkpoint is of another network or input.
        """
        saved, own = checkpoint.get(KEY), self.blueprint.to_json()
        differing = (
            [name for name in ("architecture", "arguments", "contract", "labels") if saved[name] != own[name]]
            if saved
            else ["edgeproof"]
        )
        if differing:
            raise InputError(
                "checkpoint: of another training",
                got=f"different {', '.join(differing)}",
                expected="the same recipe, dataset and input as before",
                fix="omit --resume and choose another --out",
            )
