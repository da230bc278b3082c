"""The clocks of a GPU on the board's own die."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from copied_board import copied, listing, sample

from edgedistill.targets.devfreq import NODES, gpu_clocks


@pytest.mark.parametrize("node", NODES)
def test_every_node_is_known(tmp_path: Path, node: str) -> None:
    files = {"cur_freq": "242000000", "min_freq": "0", "max_freq": "1575000000", "governor": "nvhost_podgov\n"}
    root = copied(tmp_path, {f"sys/class/devfreq/{node}/{name}": text for name, text in files.items()})
    assert gpu_clocks(root) == {"mhz": 242, "min_mhz": 0, "max_mhz": 1575, "governor": "nvhost_podgov"}


def test_other_devices_are_no_gpu_and_what_is_missing_is_left_out(tmp_path: Path) -> None:
    assert gpu_clocks(copied(tmp_path, {"sys/class/devfreq/15340000.vic/cur_freq": "115200000"})) == {}
    assert gpu_clocks(copied(tmp_path, {"sys/class/devfreq/17000000.gpu/cur_freq": "306000000"})) == {"mhz": 306}


@pytest.mark.parametrize(
    ("case", "clocks"),
    [
        ("orin R36/R39 GPU locked", {"mhz": 1300, "min_mhz": 1300, "max_mhz": 1300}),
        ("orin R35 node name", {"mhz": 306, "min_mhz": 306, "max_mhz": 624}),
        ("thor", {"mhz": 1575, "min_mhz": 315, "max_mhz": 1575}),
    ],
)
def test_the_clocks_of_samples(tmp_path: Path, case: str, clocks: dict[str, Any]) -> None:
    root = copied(tmp_path, listing(sample("devfreq_listings.txt")[case]))
    assert gpu_clocks(root) == {**clocks, "governor": "nvhost_podgov"}
