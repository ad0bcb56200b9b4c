"""TensorRT engines: precision in the ONNX graph, the build, what is known of an engine, its speed.

`python_api` is the only module of the trainer that imports tensorrt; it does so when it is first
needed and runs with TensorRT 10 and 11. `precision` makes the graph that TensorRT is given: since
TensorRT 11 a network's types alone decide what is computed in which precision. Start reading at
`build.build`.
"""
