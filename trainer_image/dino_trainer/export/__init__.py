"""From a detector to an ONNX file: the graph, its operator set, and the file."""
