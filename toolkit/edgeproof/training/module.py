"""What every training has in common as a Lightning module: input stage, optimiser, blueprint, stop at no number."""

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
# Of the rate from scratch: a last layer that starts anew has far to go, a whole network that goes on has not.
FINE_TUNING_LR = {"new classes": 0.1, "same classes": 0.01}


class DivergedError(InputError):
    """The loss is no number any more."""


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """Settled optimiser and schedule."""

    optimizer: Optimizer
    lr: float
    momentum: float
    weight_decay: float
    schedule: Schedule

    @classmethod
    def settle(cls, recipe: Recipe, options: TrainOptions, *, lr_factor: float = 1.0) -> OptimiserSettings:
        """What was said, else the recipe's, its learning rate times a factor."""
        name = options.optimizer or recipe.optimizer
        rate = options.lr if options.lr is not None else recipe.lr[name] * lr_factor
        decay = recipe.weight_decay if options.weight_decay is None else options.weight_decay
        return cls(name, rate, options.momentum, decay, options.schedule or recipe.schedule)

    def build(self, parameters: Any) -> torch.optim.Optimizer:
        """The optimiser over these parameters."""
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
        """Learning rate at a step as a share of ``lr``: warm-up in a line, then as the schedule says.

        ``one-cycle`` is Smith's (2018) with a cosine descent, ``step`` a tenth after half and again after
        three quarters of the steps. A function of the step alone, so that a resumed training may be longer.
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
    """The contract's float stage on the device of the batch: ``(x / scale - mean) / std``, ``N x C x H x W``."""
    shape = (1, -1, 1, 1)
    mean = torch.tensor(contract.mean, dtype=torch.float32, device=pictures.device).view(shape)
    std = torch.tensor(contract.std, dtype=torch.float32, device=pictures.device).view(shape)
    return (pictures.float() / contract.scale - mean) / std


class TrainedModule(L.LightningModule):  # type: ignore[misc]  # Lightning is untyped here
    """Base of all trainings.

    Args:
        network: what will be deployed; its tensors stand under ``network.`` in the checkpoint.
        blueprint: how it is built again; written into every checkpoint.
        settings: optimiser and schedule.
    """

    def __init__(self, network: nn.Module, blueprint: Blueprint, settings: OptimiserSettings) -> None:
        super().__init__()
        self.network = network
        self.blueprint = blueprint
        self.settings = settings

    def finite(self, loss: Tensor, name: str = "the loss") -> Tensor:
        """The loss, if it is a number.

        Raises:
            DivergedError: it is not; names the step.
        """
        if not bool(torch.isfinite(loss).all()):
            where = "in validation after" if self.trainer.validating or self.trainer.sanity_checking else "at"
            raise DivergedError(
                f"training stopped: {name} is no number any more",
                got=f"{float(loss.detach().mean())} {where} step {self.global_step}, epoch {self.current_epoch + 1}",
                fix=f"a lower --lr (it is {self.settings.lr:g}), or check the data",
            )
        return loss

    def configure_optimizers(self) -> Any:
        """One optimiser over the network, stepped every batch."""
        optimiser = self.settings.build(self.network.parameters())
        factor = self.settings.factor(int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """A resumed training brings its optimiser's rate along: what was said this time comes before it."""
        for config in self.trainer.lr_scheduler_configs:
            schedule = config.scheduler
            schedule.base_lrs = [self.settings.lr] * len(schedule.base_lrs)
            for group, factor in zip(schedule.optimizer.param_groups, schedule.lr_lambdas, strict=True):
                group["initial_lr"] = self.settings.lr
                group["lr"] = self.settings.lr * factor(schedule.last_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the blueprint beside the weights."""
        checkpoint[KEY] = self.blueprint.to_json()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """A training goes on only as what it was.

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
                "the checkpoint is of another training",
                got=f"another {' and another '.join(differing)}",
                expected="the same recipe, data and input as before",
                fix="leave --resume out and choose another --out",
            )
