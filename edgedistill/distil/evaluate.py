"""Which class a student chooses, image by image; no label and no teacher."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .student import Student


@torch.inference_mode()
def evaluate(student: Student, images: np.ndarray, class_vectors: np.ndarray, batch: int = 64) -> np.ndarray:
    """int64 [M]: the class the student chooses for each of the uint8 images [M,S,S,3]; class vectors are [C,D].

    In eval mode and float32, whatever mode the student was in. The scale changes no choice and is not needed.
    """
    training = student.training
    device = next(student.parameters()).device
    head = torch.from_numpy(np.asarray(class_vectors, np.float32)).to(device)
    student.eval()
    chosen = []
    for start in range(0, len(images), batch):
        part = torch.from_numpy(np.array(images[start : start + batch])).to(device)
        chosen.append((nn.functional.normalize(student(part)[1], dim=-1) @ head.T).argmax(-1).cpu())
    student.train(training)
    return torch.cat(chosen).numpy() if chosen else np.empty(0, np.int64)
