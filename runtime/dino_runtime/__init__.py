"""A trained detector in somebody's own program: ONNX Runtime, NumPy and Pillow, and nothing else.

`Detector.open("model.onnx").detect(image)` takes what `dino export` or `dino quantize` made; the
file itself says how pixels are prepared and what its classes are called. Imports neither torch nor
any other package of this project.
"""

from dino_runtime.detector import Detection, Detector
from dino_runtime.exported_file import NotADetector

__all__ = ["Detection", "Detector", "NotADetector"]
