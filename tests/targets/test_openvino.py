"""OpenVINO's provider, for real where onnxruntime-openvino is installed: right answers, and it is what computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from bundles import colour_model, colour_pixels, expected_probabilities, write_bundle

from edgedistill.profiles import list_profiles, load_profile
from edgedistill.targets import names, providers, run
from edgedistill.targets.manifest import read_json
from edgedistill.targets.ort import Session
from edgedistill.targets.providers import Settings

PROVIDER = providers.PROVIDERS[names.OPENVINO]
installed = pytest.mark.skipif(
    PROVIDER not in onnxruntime.get_available_providers(), reason="onnxruntime-openvino is not installed"
)


def test_only_a_profile_that_lists_it_has_it() -> None:
    listing = {name for name in list_profiles() if names.OPENVINO in load_profile(name).runtime.prefer}
    assert listing == {"intel-n100"}


@installed
@pytest.mark.parametrize("batch", [1, 4, "batch"])
@pytest.mark.parametrize("io_binding", [False, True])
def test_openvino_gives_the_right_answers(tmp_path: Path, batch: int | str, io_binding: bool) -> None:
    onnx.save(colour_model(batch), tmp_path / "model.onnx")
    settings = Settings(io_binding=io_binding)
    session = Session(tmp_path / "model.onnx", threads=1, provider=names.OPENVINO, settings=settings)
    pixels = colour_pixels(7)[0]
    assert np.allclose(session.run(pixels).probabilities, expected_probabilities(pixels), atol=1e-5)
    described = session.describe()
    assert (described["provider"], described["threads"]) == (PROVIDER, 1)
    assert list(described["nodes"]) == [PROVIDER]


@installed
def test_verify_measures_it_beside_the_cpus_provider(tmp_path: Path) -> None:
    profile = load_profile("intel-n100").to_json()
    profile["measure"] |= {"warmup_s": 0.0, "min_s": 0.01, "min_queries": 1}
    bundle = write_bundle(tmp_path / "bundle", profile=profile)
    assert run.main(["verify", "--bundle", str(bundle), "--model", "fp32", "--threads", "1"]) == 0
    for name in (names.CPU, names.OPENVINO):
        found = read_json(bundle / "results" / f"fp32-{name}.json")
        assert found["runtime"]["provider"] == providers.PROVIDERS[name]
        assert found["golden"]["ok"]
        assert found["memory_mb"]["kind"] == "rss_growth"
