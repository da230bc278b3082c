"""What the optimiser changes, and how: BatchNorm statistics that are held, parameters in groups."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .config import TrainConfig
from .students import Student


def hold_statistics(backbone: nn.Module) -> None:
    """BatchNorm layers of a backbone in training keep the mean and variance they have; their weight and bias learn.

    As DomainBed fine-tunes (Gulrajani & Lopez-Paz 2021, arXiv 2007.01434), where, too, test images come from elsewhere.
    """
    for layer in backbone.modules():
        if isinstance(layer, _BatchNorm):
            layer.eval()


def _groups(student: Student, config: TrainConfig, lr: float) -> list[dict[str, Any]]:
    """Backbone and projector, each with and without weight decay: vectors (biases, BatchNorm) have none."""
    groups = []
    for part, peak in ((student.backbone, lr), (student.projector, config.head_lr)):
        for vectors, decay in ((False, config.weight_decay), (True, 0.0)):
            params = [p for p in part.parameters() if (p.ndim <= 1) == vectors]
            groups.append({"params": params, "peak": peak, "lr": peak, "weight_decay": decay})
    return [group for group in groups if group["params"]]
