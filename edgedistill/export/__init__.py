"""From a student to checked ONNX graphs."""

from ..targets.providers import turn_telemetry_off

turn_telemetry_off()  # before any file of this room imports onnxruntime
