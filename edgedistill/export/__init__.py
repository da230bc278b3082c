"""From a student to checked ONNX graphs."""
