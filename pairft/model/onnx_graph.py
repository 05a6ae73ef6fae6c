"""A classifier as an ONNX graph: export it, compare it with torch, quantise it, and run it as a torch module."""

import contextlib
import errno
import itertools
import logging
import os
import shutil
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pairft import disk
from pairft.data import builtin
from pairft.data.batches import collate_for
from pairft.data.tokens import encode_sentences
from pairft.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TOLERANCE = 1e-4  # of a logit
LONGEST = 512  # tokens of the longest example that is compared
# How many sentences make one text: batches of several sizes, with examples of unequal lengths.
BATCHES = ((1,), (1, 50), (2, 1, 5, 30, 8), (50,), (3,) * 9)


class Logits(torch.nn.Module):
    """The classifier with its inputs in a fixed order and the logits as its only output."""

    def __init__(self, model: "PreTrainedModel", names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


class OnnxModel(torch.nn.Module):
    """An ONNX file that is called as the classifier: inputs of dtype int64 [examples, tokens], by name, give logits of
    dtype float32 [examples, outputs]. It uses as many threads as torch."""

    def __init__(self, file: Path) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.names = [given.name for given in self.session.get_inputs()]

    def forward(self, **inputs: Tensor) -> Any:
        [logits] = self.session.run(["logits"], {name: inputs[name].numpy() for name in self.names})
        return SimpleNamespace(logits=torch.from_numpy(logits))


def export(model: "PreTrainedModel", inputs: dict[str, Tensor], file: Path) -> None:
    """Write the model as an ONNX file whose inputs have any number of examples and tokens. Weights of 2 GB or more are
    in a second file beside it. `inputs`: an example of at least two rows with padding. Raises UserError."""
    names = list(inputs)
    axes = tuple({0: "batch", 1: "length"} for _ in names)
    try:
        with quiet():
            program = torch.onnx.export(
                Logits(model.eval(), names),
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                input_names=names,
                output_names=["logits"],
                dynamic_shapes=(axes,),
            )
            assert program is not None
            program.save(str(file))
    except OSError:
        raise
    except Exception as error:  # depends on what of the model can't be exported
        cause = error.__cause__ or error
        text = textwrap.shorten(str(cause), 300, placeholder=" …")
        raise UserError(
            f"torch {torch.__version__} can't export this {model.config.model_type} to ONNX, so use it with torch. The "
            f"exporter says: {type(cause).__name__}: {text}"
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what the exporter and the quantisation log and warn about their own parts."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def quantise(file: Path, to: Path) -> None:
    """Write a graph whose weights are int8; activations are quantised as it runs. Weights keep 7 bits, so that sums
    don't overflow on CPUs without VNNI. Raises OSError if there is no room for it and for a copy of the graph."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if shutil.disk_usage(file.parent).free < 2 * disk.size_of(file.parent):  # a copy cut short would be read
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with quiet():
        quantize_dynamic(file, to, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


def examples(tokenizer: "PreTrainedTokenizerFast", sentences: int, max_length: int) -> Iterator[dict[str, Tensor]]:
    """Padded batches of BATCHES. `sentences`: texts per example, 1 or 2."""
    drawn = itertools.cycle([str(row["sentence1"]) for row in itertools.islice(builtin.draw_rows("validation"), 50)])
    collate = collate_for(tokenizer, torch.device("cpu"))
    for counts in BATCHES:
        texts = [[" ".join(itertools.islice(drawn, count)) for count in counts] for _ in range(sentences)]
        columns = encode_sentences(texts, tokenizer, min(max_length, LONGEST))
        yield collate({**columns, "label": [0] * len(counts)}).inputs()


def largest_difference(one: Any, other: Any, batches: Sequence[dict[str, Tensor]]) -> float:
    """The largest absolute difference of a logit between two models; inf if one isn't finite."""
    with torch.inference_mode():
        found = [(one(**batch).logits - other(**batch).logits).abs().max() for batch in batches]
    return float(torch.stack(found).nan_to_num(nan=torch.inf).max())
