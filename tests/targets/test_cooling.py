"""Cooling devices tell that clocks are capped; a fan that turns tells nothing."""

from __future__ import annotations

from pathlib import Path

from copied_board import cooling, copied

from edgedistill.targets.cooling import cooling_states, of_processor

THOR = {"pwm_fan": 4, "cpufreq_cpu0": 0, "devfreq_gpu_gpc_0": 18, "cpu_throttle_alert": 0, "gpu_throttle_alert": 1}


def test_only_what_slows_down_is_read(tmp_path: Path) -> None:
    root = copied(tmp_path, cooling(**THOR, Processor=0, intel_powerclamp=-1, hot_surface_alert=1))
    assert cooling_states(root) == {
        "cpufreq-cpu0": 0,
        "devfreq-gpu-gpc-0": 18,
        "cpu-throttle-alert": 0,
        "gpu-throttle-alert": 1,
        "Processor": 0,
    }
    assert cooling_states(tmp_path / "none") == {}


def test_a_gpu_that_is_slowed_down_is_nothing_to_a_model_on_the_cpu(tmp_path: Path) -> None:
    states = cooling_states(copied(tmp_path, cooling(**THOR)))
    assert of_processor(states, gpu=False) == {"cpufreq-cpu0": 0, "cpu-throttle-alert": 0}
    assert of_processor(states, gpu=True) == states
