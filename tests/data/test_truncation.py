"""--truncation: the same ids as the tokenizer's own truncation, how many tokens are lost, and what can't be cut."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import some_pairs, write_rows, write_tiny_model
from test_tokens import TEXTS, folder_of, load, made_by

from pairft.data import tokens
from pairft.data.truncation import ends
from pairft.errors import UserError

WORDS = ["the", "board", "approved", "a", "new", "budget", "for", "next", "year", "on", "monday"]
LONG = [*TEXTS, *((" ".join(WORDS[:a] * 3), " ".join(WORDS[:b] * 2)) for a in range(1, 11, 2) for b in range(1, 11, 3))]
STRATEGIES = {"longest": "longest_first", "first": "only_first", "second": "only_second"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Tokenizers with other special tokens, at other places."""
    root = tmp_path_factory.mktemp("tokenizers")
    return {kind: write_tiny_model(root / kind, kind) for kind in ("bert", "xlnet")}


def layouts(folder: Path) -> list[Any]:
    """Tokenizers of this vocabulary: as saved, with RoBERTa's special tokens, without any, and cutting on the left."""
    from tokenizers.processors import ByteLevel, RobertaProcessing
    from transformers import AutoTokenizer

    made = [AutoTokenizer.from_pretrained(folder, truncation_side=side) for side in ("right", "left", "right", "right")]
    sep, cls = ((token, made[0].convert_tokens_to_ids(token)) for token in (made[0].sep_token, made[0].cls_token))
    made[2].backend_tokenizer.post_processor = RobertaProcessing(sep, cls)
    made[3].backend_tokenizer.post_processor = ByteLevel()  # as of GPT-2: no special tokens at all
    return made


@pytest.mark.parametrize("kind", ["bert", "xlnet"])
@pytest.mark.parametrize(
    ("truncation", "columns"), [("longest", 1), ("longest", 2), ("first", 1), ("first", 2), ("second", 2)]
)
def test_the_ids_are_those_of_the_tokenizers_own_truncation(truncation, columns, kind, folders):
    sentences = [list(column) for column in zip(*LONG, strict=True)][:columns]
    for tokenizer in layouts(folders[kind]):
        for max_length in (6, 7, 13, 32):
            made = tokens.encode_sentences(sentences, tokenizer, max_length, truncation)
            for row, texts in enumerate(zip(*sentences, strict=True)):
                whole = tokenizer(*texts)["input_ids"]
                try:
                    direct = tokenizer(*texts, truncation=STRATEGIES[truncation], max_length=max_length)
                except BaseException as error:  # a panic of Rust, or an Exception
                    assert "too short" in str(error) and made["lost"][row] == tokens.NO_ROOM
                    continue
                assert made["input_ids"][row] == direct["input_ids"]
                if "token_type_ids" in made:
                    assert made["token_type_ids"][row] == direct["token_type_ids"]
                assert made["lost"][row] == len(whole) - len(direct["input_ids"])
                assert made["length"][row] == len(direct["input_ids"])


def test_head_tail_keeps_the_ends_of_each_sentence(folders):
    """Worked out by hand: 13 - 3 special tokens leave 5 for each; a quarter of them, rounded, is the head."""
    tokenizer = layouts(folders["bert"])[0]
    first, second = " ".join("abcdefgh"), " ".join("stuvwxyz")
    made = tokens.encode_sentences([[first, "a b", first], [second, first, "x y"]], tokenizer, 13, "head-tail")
    shown = [" ".join(tokenizer.convert_ids_to_tokens(ids)) for ids in made["input_ids"]]
    assert shown == [
        "[CLS] a e f g h [SEP] s w x y z [SEP]",
        "[CLS] a b [SEP] a b c d e f g h [SEP]",  # 8 are left for the second one: it isn't cut
        "[CLS] a b c d e f g h [SEP] x y [SEP]",
    ]
    assert made["lost"].tolist() == [6, 0, 0]
    assert made["token_type_ids"][0] == [0] * 7 + [1] * 6
    single = tokens.encode_sentences([[" ".join("abcdefghij")]], tokenizer, 10, "head-tail")["input_ids"]
    assert " ".join(tokenizer.convert_ids_to_tokens(single[0])) == "[CLS] a b e f g h i j [SEP]"
    assert ends(510, "head-tail", "right") == (128, 382)  # of Sun et al. 2019


def test_the_cache_knows_how_pairs_are_cut(folders, tmp_path):
    tokenizer = layouts(folders["bert"])[0]
    pairs = load(folder_of(tmp_path, [("a b c d e f g", "x y"), ("a", "b")], [0, 1]))
    made = {way: tokens.tokenise(pairs, tokenizer, 8, way) for way in ("longest", "first", "head-tail")}
    assert len({made_by(splits)["train"] for splits in made.values()}) == 3
    assert made["longest"]["train"]["lost"][:] == [4, 0]
    assert made["longest"]["train"].features["lost"].dtype == "int32"


def test_a_sentence_that_leaves_no_room_is_named(folders, tmp_path, capsys):
    tokenizer = layouts(folders["bert"])[0]
    pairs = load(folder_of(tmp_path, [("a", "b"), ("a", "b c d e f g h")], [0, 1]))
    for _ in range(2):  # the second time from the cache
        with pytest.raises(UserError, match="row 2 of the train split the second sentence alone fills the 8"):
            tokens.tokenise(pairs, tokenizer, 8, "first")
    assert tokens.tokenise(pairs, tokenizer, 8, "second")["train"]["lost"][:] == [0, 3]
    rows = pairs.splits["train"]
    pairs = dataclasses.replace(pairs, splits={"test": rows})  # as predict has them
    found = tokens.tokenise(pairs, tokenizer, 8, "first")["test"]
    assert found["input_ids"][1] == tokens.tokenise(pairs, tokenizer, 8, "longest")["test"]["input_ids"][1]
    assert "warning: rows such as 2 are cut as by --truncation longest" in capsys.readouterr().err


def test_truncation_arrives(go, tmp_path, capsys):
    from pairft import predict

    run = tmp_path / "runs" / "a"
    flags = ["--max-length", 16, "--max-steps", 1, "--run-name", "a"]
    assert go(*flags, "--truncation", "head-tail") == 0
    assert "are cut to 16 tokens, in the middle" in " ".join(capsys.readouterr().err.split())
    about = json.loads((run / "last" / "pairft.json").read_text())
    assert about["truncation"] == "head-tail"
    assert "truncation: head-tail" in (run / "config.yaml").read_text()
    rows = some_pairs("validation", 20)
    write_rows(tmp_path / "some.jsonl", rows)

    def answers() -> str:
        output = tmp_path / "answers.jsonl"
        arguments = ["--model", run / "last", "--data", tmp_path / "some.jsonl", "--output", output]
        assert predict.main([str(argument) for argument in arguments]) == 0
        return output.read_text()

    middle = answers()
    about.pop("truncation")  # as of an older run
    (run / "last" / "pairft.json").write_text(json.dumps(about))
    assert answers() != middle
    assert go("--run-name", "a", "--resume", "--truncation", "longest") == 2
    assert "--truncation is 'longest', but" in capsys.readouterr().err


def test_a_second_sentence_is_needed_to_cut_it(go, capsys):
    assert go("--task", "custom", "--text-columns", "sentence1", "--truncation", "second") == 2
    assert "--truncation second: there is only one text column" in capsys.readouterr().err
    assert go("--task", "sst2", "--truncation", "second") == 2
