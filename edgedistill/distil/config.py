"""How long, how fast and where a student trains: what was asked for, and the defaults that follow from the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .. import records
from ..choices import Dtype, Norm, TrainOn, ViewTargets
from ..errors import InputError

if TYPE_CHECKING:
    from .student import Student


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, how fast and where. None: derived from the number of images (`batch_for`, `epochs_for`) and, for `lr`,
    from the start (`lr_for`).

    `lr` is for the backbone, `head_lr` for the projector; both warm up linearly over `warmup` of all steps and fall to
    0 on a cosine. Weight decay skips biases and BatchNorm. `ema` is the ceiling of the moving average's decay
    min(ema, (1+t)/(10+t)); the average is what is kept.
    `views`: match, mean or blend (methods/base.py: view_loss); blend rises to `eta` over the first fifth and is match
    where the store has fewer than 4 views.
    `norm`: whose mean and variance BatchNorm uses. "batch": the batch's own, running averages kept for later; "start":
    in the backbone those the start came with (of a folded start: the pool's, see unfold.py), for the whole run
    (`hold_statistics`), in the projector the batch's; "held": in both those the start came with, where they were ever
    learned, else the batch's; "auto": start for pretrained weights, else batch.
    `interpolation`: what is kept lies so far on the line from the weights of the start to those of training: 1 are the
    latter, below it more of what the start knew stays (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903, section 3).
    `dtype`: float32 or bfloat16 arithmetic of the student's forward pass ("auto": `choose_dtype`, by measurement);
    weights, loss and optimiser stay float32.
    """

    size: int
    epochs: int | None = None
    batch: int | None = None
    lr: float | None = None
    head_lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip: float = 1.0
    ema: float = 0.999
    views: ViewTargets = "blend"
    eta: float = 0.5
    norm: Norm = "auto"
    interpolation: float = 1.0
    seed: int = 0
    train_on: TrainOn = "auto"
    dtype: Dtype = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        records.conform(self, "training")
        for name, least in (("size", 16), ("epochs", 1), ("batch", 2), ("threads", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"training: {name} is {value}", f"It must be at least {least}.")
        for name in ("lr", "head_lr", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"training: {name} is {value}", "It must be above 0.")
        for name in ("weight_decay", "warmup", "ema", "eta", "interpolation"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"training: {name} is {getattr(self, name)}", "It must be between 0 and 1.")

    def norm_with(self, start: Student) -> Literal["batch", "start", "held"]:
        """`norm`, settled. Pretrained weights keep the statistics they came with: a pool is narrower than what they
        were made from.

        A few hundred photos of one place would move the statistics to that place, and the student would read every
        other floor and lamp by them.
        """
        if self.norm != "auto":
            return self.norm
        return "start" if start.pretrained else "batch"


def batch_for(images: int) -> int:
    """128 images a step, or a quarter of a small pool."""
    return max(2, min(128, images // 4))


def epochs_for(images: int) -> int:
    """About 60,000 images in all, between 20 and 100 epochs."""
    return min(100, max(20, round(60_000 / images)))


def patient(epochs: int, patience: float | None) -> int:
    """`patience` times the epochs that the defaults would choose; None: as many as these.

    After Beyer et al. 2022 (arXiv 2106.05237), who train students for very long on views that the teacher saw, too.
    Ours are stored and so come again: the longer the training, the more of them are needed.
    """
    return epochs if patience is None else max(1, round(patience * epochs))


def lr_for(student: Student) -> float:
    """The backbone's peak learning rate: 1e-3 from scratch, 1e-4 for pretrained weights.

    Pretrained features carry over to backgrounds the pool does not show; a high rate unlearns that. Tried, with
    `norm_with`, on renders of other floors and lamps (benchmarks/gentle_start.py): from the example's start the
    choices are hardly told apart there.
    """
    return 1e-4 if student.pretrained else 1e-3
