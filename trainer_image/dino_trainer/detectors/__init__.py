"""Models that find objects: a checkpoint, an ONNX file or an engine behind one small interface.

Start at `opening.open_model`; one module for each kind of file runs it. What a `Detector` is says
`model_files.info`. `scoring.detection.detect` runs any of them over a data set.
"""
