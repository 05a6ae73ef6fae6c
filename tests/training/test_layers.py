"""Where parameters are in encoders of several kinds, and the names that --freeze takes."""

import pytest
import torch
from conftest import ARCHITECTURES, SIZES
from transformers import AutoConfig, AutoModelForSequenceClassification

from pairft.errors import UserError
from pairft.training.layers import freeze, heights

ABOVE = 3  # the two layers are 1 and 2
PLACES = {  # beginnings of names
    "bert": {"bert.embeddings.": 0, "bert.encoder.layer.1.": 2, "bert.pooler.": ABOVE, "classifier.": ABOVE},
    "roberta": {"roberta.embeddings.": 0, "roberta.encoder.layer.0.": 1, "classifier.out_proj.": ABOVE},
    "electra": {"electra.embeddings_project.": 0, "electra.encoder.layer.1.": 2, "classifier.dense.": ABOVE},
    "distilbert": {"distilbert.embeddings.": 0, "distilbert.transformer.layer.1.": 2, "pre_classifier.": ABOVE},
    "mpnet": {"mpnet.encoder.relative_attention_bias.": 0, "mpnet.encoder.layer.0.": 1, "classifier.": ABOVE},
    "deberta-v2": {"deberta.encoder.rel_embeddings.": 0, "deberta.encoder.layer.1.": 2, "pooler.": ABOVE},
    "albert": {"albert.encoder.embedding_hidden_mapping_in.": 0, "albert.encoder.albert_layer_groups.0.": 1},
    "modernbert": {"model.embeddings.": 0, "model.layers.2.": 3, "model.final_norm.": 4, "head.": 4},
    "funnel": {"funnel.embeddings.": 0, "funnel.encoder.blocks.0.0.": 1, "funnel.encoder.blocks.1.0.": 2},
    "gpt2": {"transformer.wpe.": 0, "transformer.h.1.": 2, "transformer.ln_f.": ABOVE, "score.": ABOVE},
}


def classifier(kind: str, **more: object):
    settings = {"vocab_size": 50, "max_position_embeddings": 64, "pad_token_id": 0, **SIZES, **ARCHITECTURES[kind]}
    settings |= more
    config = AutoConfig.for_model(kind, **{name: value for name, value in settings.items() if value is not None})
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("kind", PLACES)
def test_heights(kind):
    found = heights(classifier(kind), "--freeze")
    for beginning, height in PLACES[kind].items():
        of_part = {height for name, height in found.items() if name.startswith(beginning)}
        assert of_part == {height}, (beginning, of_part)


def test_what_published_debertas_have_beside_the_layers():
    """DeBERTa-v3 norms the embeddings of relative positions; the xlarge DeBERTa-v2 has a convolution, too."""
    found = heights(
        classifier("deberta-v2", norm_rel_ebd="layer_norm", conv_kernel_size=3, conv_act="gelu"), "--freeze"
    )
    assert {at for name, at in found.items() if name.startswith("deberta.encoder.LayerNorm.")} == {0}
    assert {at for name, at in found.items() if name.startswith("deberta.encoder.conv.")} == {1}


def frozen(kind: str, *names: str) -> set[str]:
    model = classifier(kind)
    freeze(model, names)
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize(
    ("names", "beginnings"),
    [
        (["embeddings"], ["bert.embeddings."]),
        (["layers.1"], ["bert.encoder.layer.1."]),
        (["embeddings", "layers.0-1"], ["bert.embeddings.", "bert.encoder."]),
        (["bert.pooler"], ["bert.pooler."]),
        (["bert.pooler.dense.bias", "classifier"], ["bert.pooler.dense.bias", "classifier."]),
        (["bert"], ["bert."]),
    ],
)
def test_a_name_freezes_what_it_says(names, beginnings):
    every = dict(classifier("bert").named_parameters())
    assert frozen("bert", *names) == {name for name in every if name.startswith(tuple(beginnings))}


@pytest.mark.parametrize(
    "name", ["layers.2", "layers.1-2", "layers.1-0", "embedding", "encoder", "bert.encoder.layer.2", "x"]
)
def test_a_name_that_matches_nothing_lists_those_that_do(name):
    with pytest.raises(UserError) as caught:
        freeze(classifier("bert"), ["embeddings", name])
    assert str(caught.value) == (
        f"--freeze {name}: the model has no such part; it has embeddings, layers.0-1, bert.embeddings, bert.encoder, "
        "bert.pooler, classifier"
    )


def test_something_has_to_be_left():
    with pytest.raises(UserError, match="nothing is left to train"):
        freeze(classifier("bert"), ["bert", "classifier"])


def test_layers_of_an_encoder_decoder_can_not_be_counted():
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    config = AutoConfig.for_model("t5", vocab_size=20, **sizes, decoder_start_token_id=0)
    model = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(UserError, match="t5 is an encoder-decoder"):
        freeze(model, ["embeddings"])
    with pytest.raises(UserError, match=r"no such part; it has transformer\.shared"):
        freeze(model, ["x"])
    freeze(model, ["transformer.encoder"])
    assert not any(p.requires_grad for p in model.transformer.encoder.parameters())
