"""How long a comparison of two runs takes: alignment, metrics with 2,000 resamples, test and flips.

python benchmarks/comparing.py [examples]
"""

import sys
import time

import numpy

from pairft.comparison.alignment import Examples, aligned
from pairft.comparison.flips import flips
from pairft.comparison.scores import METRICS, metric_scores
from pairft.tasks import REGRESSION, SINGLE_LABEL
from pairft.training import metrics  # noqa: F401  # imports evaluate, which is not measured
from pairft.training.evaluation import EvalOutput


def main(number: int) -> None:
    random = numpy.random.default_rng(0)
    rows = numpy.arange(1, number + 1)
    texts = [(f"sentence {row}", f"another sentence {row}") for row in rows]
    for kind, names in ((SINGLE_LABEL, ("no", "yes")), (REGRESSION, None)):
        labels = random.integers(0, 2, number) if names else random.normal(size=number).astype(numpy.float32)
        examples = Examples(rows, texts, labels, kind, names, 1 if names else None, ("sentence1", "sentence2"))
        logits = labels[:, None] + random.normal(size=(2, number, 1)).astype(numpy.float32)
        if names:
            logits = numpy.concatenate([1 - logits, logits], axis=2)
        losses = random.random(number).astype(numpy.float32)
        outputs = [EvalOutput(one.astype(numpy.float32), losses, labels) for one in logits]
        began = time.perf_counter()
        aligned([(examples, outputs[0]), (examples, outputs[1])], ["a", "b"])
        show(kind, "alignment", began)
        for name in METRICS[kind]:
            began = time.perf_counter()
            metric_scores([[one] for one in outputs], [name], examples.positive)
            show(kind, name, began)
        began = time.perf_counter()
        flips(examples, outputs[:1], outputs[1:])
        show(kind, "flips", began)


def show(kind: str, what: str, began: float) -> None:
    print(f"{kind:<28} {what:<10} {time.perf_counter() - began:6.2f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40_000)
