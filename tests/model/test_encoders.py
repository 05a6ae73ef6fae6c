"""Encoders of every kind, from training to an answer; and the kinds that can't be trained."""

import json
from typing import Any

import pytest
import torch
from conftest import some_pairs, write_tiny_model
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from pairft import predict

KINDS = ("bert", "roberta", "distilbert", "electra", "albert", "mpnet", "deberta-v2", "xlm-roberta", "modernbert")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {  # settings of a tiny one, and what the message says
    "canine": ({**SMALL, "num_hash_buckets": 64}, "canine, which has no token embedding"),
    "perceiver": (
        {"num_latents": 4, "d_latents": 32, "d_model": 32, "num_blocks": 1, "num_self_attends_per_block": 1},
        "perceiver, which has no token embedding",
    ),
    "reformer": (
        {
            **{"hidden_size": 32, "axial_pos_embds_dim": (16, 16), "axial_pos_shape": (8, 8), "feed_forward_size": 64},
            **{"attn_layers": ["local"], "num_attention_heads": 2, "attention_head_size": 16, "is_decoder": False},
            "local_attn_chunk_length": 8,
        },
        "reformer can't compute a few examples of the data (ValueError: If training, sequence length",
    ),
    # A folder whose config.json names sizes that don't go together.
    "layoutlmv3": ({**SMALL, "max_position_embeddings": 66}, "layoutlmv3 can't compute a few examples of the data"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_trains_saves_loads_and_predicts(go, tmp_path, kind):
    encoder, run = write_tiny_model(tmp_path / "encoder", kind, initializer_range=0.2), tmp_path / "runs" / "a"
    assert go("--model", encoder, "--max-steps", 3, "--lr", "1e-3", "--run-name", "a") == 0
    rows = some_pairs("test", 5)
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = ["--model", run / "best", "--data", tmp_path / "new.jsonl", "--output", tmp_path / "answers.jsonl"]
    assert predict.main([str(word) for word in (*command, "--device", "cpu")]) == 0
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    loaded = AutoModelForSequenceClassification.from_pretrained(run / "best").eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "best")
    with torch.no_grad():
        pairs = [tokenizer(row["sentence1"], row["sentence2"], return_tensors="pt") for row in rows]
        wanted = torch.cat([loaded(**pair).logits for pair in pairs]).softmax(dim=1)
    assert [answer["probability_equivalent"] for answer in answers] == pytest.approx(wanted[:, 1].tolist(), abs=1e-5)
    assert [answer["label"] for answer in answers] == [loaded.config.id2label[i] for i in wanted.argmax(1).tolist()]


@pytest.mark.parametrize("kind", REFUSED)
def test_a_kind_that_can_not_be_trained_is_refused_in_one_message(go, tmp_path, capsys, kind):
    settings, words = REFUSED[kind]
    folder = write_tiny_model(tmp_path / "encoder")
    number = len((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{"vocab_size": number, "pad_token_id": 0, **settings})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    about = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    about["model_input_names"] = ["input_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    capsys.readouterr()
    assert go("--model", folder, "--new-head", "--max-steps", 1) == 2
    message = capsys.readouterr().err
    assert words in message and "choose another encoder" in message, message
    assert not list((tmp_path / "runs").iterdir())
