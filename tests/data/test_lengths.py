"""How many tokens a pair may have: the model's limit, the tokenizer's, or --max-length."""

import json

import pytest
from conftest import some_pairs, write_rows

from pairft.config import Config
from pairft.data import lengths, tokens
from pairft.data.pairs import load_pairs
from pairft.errors import UserError


@pytest.mark.parametrize(
    ("positions", "longest", "kind", "limit"),
    [
        (64, 64, "bert", 64),
        (64, 512, "bert", 64),
        (512, 64, "bert", 64),
        (64, 10**30, "bert", 64),  # what a tokenizer says that knows no limit
        (None, 10**30, "t5", lengths.NO_LIMIT),  # says nothing
        (None, 10**30, "xlnet", lengths.NO_LIMIT),  # says -1
        (None, 64, "xlnet", 64),
        (66, 512, "roberta", 64),  # two positions are never used: they lie before the first token's
    ],
)
def test_the_limit_is_the_models_or_the_tokenizers(positions, longest, kind, limit, tiny_model):
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model, model_max_length=longest)
    config = AutoConfig.for_model(kind, **({"max_position_embeddings": positions} if positions else {}))
    assert lengths.checked_length(None, tokenizer, config, 2) == limit
    assert lengths.checked_length(limit, tokenizer, config, 2) == limit
    for sentences, least in ((2, 5), (1, 3)):  # a token of each sentence, and three or two special ones
        assert lengths.checked_length(least, tokenizer, config, sentences) == least
        for asked in (least - 1, limit + 1):
            with pytest.raises(UserError, match=f"--max-length is {asked},.* {least} .* to {limit} tokens"):
                lengths.checked_length(asked, tokenizer, config, sentences)


def test_a_model_that_states_no_limit_takes_sentences_whole(go, tmp_path, tiny_model):
    from transformers import AutoTokenizer, XLNetConfig, XLNetModel

    encoder, words = tmp_path / "xlnet", "the board approved the budget " * 60
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, model_max_length=10**30)
    tokenizer.save_pretrained(encoder)
    config = XLNetConfig(vocab_size=len(tokenizer), d_model=32, n_layer=2, n_head=2, d_inner=64)
    XLNetModel(config).save_pretrained(encoder)
    rows = [{"sentence1": words, "sentence2": "a b", "label": label} for label in (0, 1)]
    write_rows(tmp_path / "pairs" / "train.jsonl", rows)
    write_rows(tmp_path / "pairs" / "validation.jsonl", some_pairs("validation", 4))
    assert go("--model", encoder, "--data", tmp_path / "pairs", "--max-steps", 1, "--run-name", "a") == 0
    about = json.loads((tmp_path / "runs" / "a" / "last" / "pairft.json").read_text())
    assert about["max_length"] == lengths.NO_LIMIT
    pairs = load_pairs(Config(data=str(tmp_path / "pairs")))
    assert tokens.tokenise(pairs, tokenizer, lengths.NO_LIMIT)["train"]["length"][0] == 5 * 60 + 2 + 3
