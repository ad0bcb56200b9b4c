"""From a detector to an ONNX file: the graph, and what the file says about itself."""
