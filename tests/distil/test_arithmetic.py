from __future__ import annotations

import torch

from edgedistill.distil.arithmetic import choose_dtype

from .colours import SIZE, fresh_student


def test_dtype_choice_gives_a_reason_and_leaves_the_student_alone() -> None:
    student = fresh_student()
    before = {k: v.clone() for k, v in student.state_dict().items()}
    dtype, why = choose_dtype(student, SIZE, 8, torch.device("cpu"))
    assert dtype in ("float32", "bfloat16")
    assert "bfloat16" in why or "float32" in why
    assert all(torch.equal(before[k], v) for k, v in student.state_dict().items())
    assert all(p.grad is None for p in student.parameters())
