import os

from pairft.prediction.predictor import Predictor

__version__: str

def load(model: str | os.PathLike[str], device: str = "auto", precision: str = "auto") -> Predictor: ...
