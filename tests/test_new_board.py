"""A board is added in one file: what a contributor does, step by step, with a board that does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import write_bundle

from edgedistill import profiles
from edgedistill.profile_text import show
from edgedistill.targets import machine
from edgedistill.targets.manifest import read_manifest

# Steps 1 to 4 are one file, named as the board.
TOY = """
schema = 1
name = "toy-board"                      # 1. a name, as the file's, and a title
title = "Toy Board 3000"
notes = ["It needs a fan."]

[identify]                              # 2. what the board says of itself (cat /proc/device-tree/model, uname -m)
model = ["Toy Board"]
machine = ["aarch64"]

[runtime]                               # 3. what runs there, and what is built for it
prefer = ["onnxruntime-cpu"]

[model]
input_size = 128
student = "mobilenetv3_small_100"
precisions = ["fp32"]

[budget]                                # 4. what is asked of it, and when a run is too hot to count
latency_p95_ms = 50
memory_mb = 300

[measure]
warmup_s = 1
min_s = 10
min_queries = 300
hot_c = 80
"""


def board(root: Path, model: str) -> machine.Facts:
    """The facts of a board whose device tree names `model`."""
    tree = root / "proc" / "device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(model.encode() + b"\0")
    return machine.read_facts(root, machine="aarch64", gpus=lambda: [])


def test_a_board_is_added_in_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "toy-board.toml"
    file.write_text(TOY, encoding="utf-8")

    # 5. Look at it: `edgedistill profiles show toy-board.toml`.
    profile = profiles.load_profile(file)
    show(profile)
    shown = capsys.readouterr().out
    assert "toy-board  Toy Board 3000" in shown
    assert "p95 50 ms, 300 MB, agreement 0.90, accuracy drop 0.03" in shown
    assert "- It needs a fan." in shown

    # A bundle built for it knows the board again, and no other.
    manifest = read_manifest(write_bundle(tmp_path / "bundle", profile=profile.to_json()))
    assert manifest.profile["name"] == "toy-board"
    assert machine.identify(manifest.profile, facts=board(tmp_path / "a", "Toy Board 3000 rev 2")).status == "match"
    assert machine.identify(manifest.profile, facts=board(tmp_path / "b", "Other Board")).status == "mismatch"

    # 6. In profiles/ it has a name: no list has to learn of it.
    monkeypatch.setattr(profiles, "FOLDER", tmp_path)
    assert profiles.list_profiles() == ["toy-board"]
    assert profiles.load_profile("toy-board") == profile
