"""One step of training: forward, loss, backward, clipping, AdamW, moving average.

`Learner` holds what a step changes. Its `step` is a function of a batch and of that step's rates and reads no value
back from the device: what it returns are tensors, for whoever counts them. With rates in tensors it has no number in
it that changes from step to step, so that a GPU can record it once and replay it (captured.py); it is the same step.
The run (run.py) knows epochs, files and progress; nothing of that is here.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .arithmetic import autocast, placed
from .batches import Batch
from .config import TrainConfig, lr_for
from .lesson import Lesson
from .methods.base import StudentOut, view_loss
from .schedule import Rates
from .student import Student
from .unfold import is_folded, unfold

log = logging.getLogger(__name__)

UNFOLD_IMAGES = 512


class Learner:
    """A student that learns on `device`: live weights, their moving average, the optimiser.

    `start` is copied, not changed; the config's dtype is a settled one, not "auto". `lr` and `norm` are what the
    config says or, where it leaves that open, what follows from the start.
    """

    def __init__(self, start: Student, lesson: Lesson, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device, self.method = config, device, lesson.method
        self.lr = config.lr or lr_for(start)
        self.norm = config.norm_with(start)
        self.state = lesson.method.prepare(lesson.material(start.width)).to(device)
        self.live = placed(start, device).train()
        if is_folded(start.backbone):
            log.info("the start's BatchNorm is folded away: giving it the pool's statistics before training")
            unfold(self.live.backbone, self._sample_of_pixels(lesson))
        if self.norm == "start":
            hold_statistics(self.live.backbone)
        elif self.norm == "held":
            hold_statistics(self.live, learned_alone=True)
        self.average = copy.deepcopy(self.live).eval()
        self._began = [p.detach().clone() for p in self.live.parameters()] if config.interpolation < 1 else []
        # `capturable` allows a GPU to record the step; the fused arithmetic is the same with it and without.
        recordable = device.type == "cuda"
        self.optimiser = torch.optim.AdamW(self._groups(), fused=True, capturable=recordable)

    def step(self, batch: Batch, rates: Rates) -> dict[str, Tensor]:
        """Learn from one batch, which lies on the device.

        Returns scalar tensors without gradient: the parts of the loss, agreement with the teacher, gradient norm.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = _in_float32(rates.lr * group["peak"])
        with autocast(self.device, self.config.dtype):
            f, h = self.live(batch.images)
        out = StudentOut.of(f, h, batch.row, batch.view)
        parts = view_loss(self.method, out, batch.teacher, self.state, rates.eta)
        self.optimiser.zero_grad(set_to_none=True)
        parts["total"].backward()
        norm = nn.utils.clip_grad_norm_([*self.live.parameters(), *self.state.parameters()], self.config.clip)
        self.optimiser.step()
        self.update_average(rates.decay)
        with torch.no_grad():
            self.method.advance(out, batch.teacher, self.state)
            same = self.state.logits(out.g).argmax(-1) == self.state.logits(batch.teacher.u).argmax(-1)
        found = {**parts, "agreement": same.float().mean(), "grad_norm": norm}
        return {name: value.detach() for name, value in found.items()}

    @torch.no_grad()
    def update_average(self, decay: float | Tensor) -> None:
        """Weights that learn move by 1 − decay towards the live ones; buffers (BatchNorm's statistics) are copied."""
        pairs = [(m, t) for m, t in zip(self.average.parameters(), self.live.parameters()) if t.requires_grad]
        mine: list[Tensor] = [kept for kept, _ in pairs]
        theirs: list[Tensor] = [new for _, new in pairs]
        if isinstance(decay, Tensor):  # torch's lerp over a list takes no tensor for all of it
            way = torch._foreach_sub(theirs, mine)
            torch._foreach_mul_(way, _in_float32(1 - decay))
            torch._foreach_add_(mine, way)
        else:
            torch._foreach_lerp_(mine, theirs, 1 - decay)
        for kept, new in _by_dtype(self.average.buffers(), self.live.buffers()):
            torch._foreach_copy_(kept, new)

    @torch.no_grad()
    def interpolate(self) -> None:
        """At the end: the average comes to lie `interpolation` of the way from where the weights began."""
        for kept, began in zip(self.average.parameters(), self._began):
            kept.lerp_(began, 1 - self.config.interpolation)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the steps to come depend on, by name: live.*, average.*, method.* and
        optimiser.<parameter>.*."""
        found = {f"live.{name}": value for name, value in self.live.state_dict().items()}
        found |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        found |= {f"method.{name}": value for name, value in self.state.changing().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            found |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave, wherever the tensors lie now."""
        self.live.load_state_dict(_under("live.", tensors))
        self.average.load_state_dict(_under("average.", tensors))
        for name, value in _under("method.", tensors).items():
            self.state.changing()[name].detach().copy_(value)
        self._load_optimiser(_under("optimiser.", tensors))

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go back to what `tensors` gave, in place, and without gradients. State of the optimiser that is not among
        them was not there yet: it begins at zero."""
        self.forget_gradients()
        for name, value in self.tensors().items():
            if name in tensors:
                value.detach().copy_(tensors[name])
            else:
                value.zero_()

    def forget_gradients(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)

    def _groups(self) -> list[dict[str, Any]]:
        """The student's, and what the method trains beside it."""
        found = groups(self.live, self.config, self.lr)
        if self.state.parameters():
            peak, decay = self.config.head_lr, self.config.weight_decay
            found.append({"params": self.state.parameters(), "peak": peak, "lr": peak, "weight_decay": decay})
        return found

    def _load_optimiser(self, tensors: dict[str, Tensor]) -> None:
        """Moments take their parameter's memory format: the fused step walks both in the same order."""
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, kind = name.partition(".")
            like = parameters[int(index)]
            same_shape = kind != "step"
            states.setdefault(int(index), {})[kind] = torch.empty_like(like).copy_(value) if same_shape else value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": states})

    def _sample_of_pixels(self, lesson: Lesson) -> Iterator[Tensor]:
        """Centre views of some of the pool, as the backbone takes them."""
        some = np.random.default_rng([self.config.seed, 0]).permutation(lesson.rows)[:UNFOLD_IMAGES]
        for part in np.array_split(some, math.ceil(len(some) / 64)):
            crops = lesson.store.pixels.crops(part, np.zeros_like(part), self.config.size)
            yield self.live.normalise(crops.to(self.device))


def hold_statistics(network: nn.Module, learned_alone: bool = False) -> None:
    """BatchNorm layers of a network in training keep the mean and variance they have; their weight and bias learn.

    As DomainBed fine-tunes (Gulrajani & Lopez-Paz 2021, arXiv 2007.01434), where, too, test images come from elsewhere.
    `learned_alone`: but for layers whose statistics nobody learned yet, such as those of a fresh projector.
    """
    for layer in network.modules():
        if isinstance(layer, _BatchNorm) and not (learned_alone and never_learned(layer)):
            layer.eval()


def never_learned(layer: _BatchNorm) -> bool:
    """Whether the layer's mean and variance are those that it was made with."""
    mean, variance = layer.running_mean, layer.running_var
    return mean is None or variance is None or bool((mean == 0).all() and (variance == 1).all())


def groups(student: Student, config: TrainConfig, lr: float) -> list[dict[str, Any]]:
    """Backbone and projector, each with and without weight decay: vectors (biases, BatchNorm) have none. What is frozen
    is in none of them."""
    found = []
    for part, peak in ((student.backbone, lr), (student.projector, config.head_lr)):
        for vectors, decay in ((False, config.weight_decay), (True, 0.0)):
            params = [p for p in part.parameters() if p.requires_grad and (p.ndim <= 1) == vectors]
            found.append({"params": params, "peak": peak, "lr": peak, "weight_decay": decay})
    return [group for group in found if group["params"]]


def _in_float32(rate: float | Tensor) -> float | Tensor:
    """The fused optimiser on a GPU reads a rate that is a tensor as float32, whatever it is."""
    return rate.float() if isinstance(rate, Tensor) else rate


def _by_dtype(mine: Iterable[Tensor], theirs: Iterable[Tensor]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """The pairs in lists of one dtype each: torch copies such a list at once, a mixed one tensor by tensor."""
    found: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for one, other in zip(mine, theirs, strict=True):
        ones, others = found.setdefault(one.dtype, ([], []))
        ones.append(one)
        others.append(other)
    return list(found.values())


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
