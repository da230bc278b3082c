from __future__ import annotations

import pytest
import torch

from edgedistill.distil.arithmetic import choose_dtype, reproducible

from .colours import SIZE, fresh_student


def test_dtype_choice_gives_a_reason_and_leaves_the_student_alone() -> None:
    student = fresh_student()
    before = {k: v.clone() for k, v in student.state_dict().items()}
    dtype, why = choose_dtype(student, SIZE, 8, torch.device("cpu"))
    assert dtype in ("float32", "bfloat16")
    assert "bfloat16" in why or "float32" in why
    assert all(torch.equal(before[k], v) for k, v in student.state_dict().items())
    assert all(p.grad is None for p in student.parameters())


def test_on_a_gpu_no_convolution_is_searched_for_and_afterwards_all_is_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with reproducible(torch.device("cuda"), None):
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark
    with reproducible(torch.device("cpu"), None):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
