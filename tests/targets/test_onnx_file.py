"""An ONNX file is looked over before a runtime opens it: nothing outside its folder, no engine in a graph's place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import colour_model
from onnx import TensorProto, helper, numpy_helper

from edgedistill.targets.errors import TargetError
from edgedistill.targets.onnx_file import check_onnx, require_onnx
from edgedistill.targets.ort import Graph
from edgedistill.targets.outside import Unfit


def with_weights_in(location: str, where: str) -> onnx.ModelProto:
    """A model that keeps a tensor in the file `location`: an initializer, an attribute's, or an inner graph's."""
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="length", value="12")
    tensor.external_data.add(key="location", value=location)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    if where == "initializer":
        graph = helper.make_graph([helper.make_node("Relu", ["weights"], ["y"])], "g", [], [output], [tensor])
    elif where == "attribute":
        graph = helper.make_graph([helper.make_node("Constant", [], ["y"], value=tensor)], "g", [], [output])
    else:
        inner = helper.make_graph([], "inner", [], [output], [tensor])
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=inner)], "g", [], [output])
    return helper.make_model(graph)


@pytest.mark.parametrize("where", ["initializer", "attribute", "inner graph"])
def test_weights_in_a_file_outside_the_folder_are_refused_wherever_they_are_named(tmp_path: Path, where: str) -> None:
    path = tmp_path / "m.onnx"
    for location in ("../secret", "/etc/passwd", "a/../../secret", "", "C:/x"):
        path.write_bytes(with_weights_in(location, where).SerializeToString())
        with pytest.raises(Unfit, match="not a path inside its folder"):
            check_onnx(path)
    path.write_bytes(with_weights_in("weights.bin", where).SerializeToString())
    check_onnx(path)


def test_a_link_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/weights.bin").symlink_to(tmp_path / "outside")
    path = tmp_path / "folder/m.onnx"
    path.write_bytes(with_weights_in("weights.bin", "initializer").SerializeToString())
    with pytest.raises(Unfit, match="not a path inside its folder"):
        check_onnx(path)


def test_an_engine_in_the_place_of_a_graph_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("EPContext", [], ["y"], domain="com.microsoft", ep_cache_context="x")
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(Unfit, match="EPContext"):
        check_onnx(tmp_path / "m.onnx")


def test_graphs_inside_graphs_end_somewhere(tmp_path: Path) -> None:
    field = b""
    for _ in range(40):  # Graph.node(1) / Node.attribute(5) / Attribute.g(6)
        for tag in (0x32, 0x2A, 0x0A):
            field = bytes([tag]) + _length(len(field)) + field
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + _length(len(field)) + field)
    with pytest.raises(Unfit, match="nested deeper than 16"):
        check_onnx(tmp_path / "m.onnx")


def _length(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x3a\xff", b"\x08\x07", b"\x3b\x00"])
def test_what_is_no_model_is_two_lines_and_no_runtime_sees_it(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(TargetError, match=r"^cannot load .*m\.onnx: it .*\nCheck"):
        require_onnx(path)
    with pytest.raises(TargetError, match=r"^cannot load"):
        Graph(path)


def test_a_model_of_ours_passes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(colour_model().SerializeToString())
    check_onnx(path)
