from pairft.prediction.predictor import Predictor

__version__: str

def load(model: str, device: str = "auto", precision: str = "auto") -> Predictor: ...
