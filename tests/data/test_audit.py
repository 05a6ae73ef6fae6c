"""What is wrong with the data: each fault in hand-made rows, with exact counts and row numbers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import some_pairs, write_rows
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from pairft.data import findings
from pairft.data.findings import Finding

TRAIN = [
    ("a b", "c d", 0),
    ("e f", "g h", 1),
    ("a b", "c d", 1),  # row 3: row 1 with another label
    ("i j", "k l", 0),
    ("k l", "i j", 1),  # row 5: row 4, swapped, with another label
    ("m n", "o p", 1),
    ("m n", "o p", 1),  # row 7: row 6 again
    ("m n", "o p", 1),  # row 8: and again
    ("q", " ".join("abcdefghijklmnopqrstuvwxyz"), 0),  # row 9: 30 tokens
    ("r", " ".join("abcdefghijklmnop"), 0),  # row 10: 20 tokens
    ("s t", "s t", 0),
]
VALIDATION = [
    ("u v", "w x", 1),
    ("e f", "g h", 1),  # row 2: row 2 of train
    ("g h", "e f", 1),  # row 3: row 2 of train, swapped
    ("s t", "s t", 1),  # row 4: row 11 of train, which is not swapped: both sentences are the same
]
TEST = [("1", "2", 0), ("o p", "m n", None)]  # row 2: row 6 of train, swapped


def rows_of(pairs: list[tuple[str, str, Any]]) -> list[dict[str, Any]]:
    return [{"sentence1": first, "sentence2": second, "label": label} for first, second, label in pairs]


def write(folder: Path, **splits: list[tuple[str, str, Any]]) -> Path:
    for split, pairs in splits.items():
        write_rows(folder / f"{split}.jsonl", rows_of(pairs))
    return folder


def audited(run: Path) -> dict[str, dict[str, Any]]:
    """The findings in a run's audit.json, by what and split."""
    content = json.loads((run / "audit.json").read_text(encoding="utf-8"))
    return {f"{found['what']} {found['split']}": found for found in content["findings"]}


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    return write(tmp_path / "data", train=TRAIN, validation=VALIDATION, test=TEST)


def test_each_fault_is_counted_and_located(go, faulty, tmp_path, capsys):
    flags = ["--data", faulty, "--max-length", 16, "--max-steps", 1, "--run-name"]
    assert go(*flags, "a") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("data: ", "  "))]
    found = audited(tmp_path / "runs" / "a")
    assert {key: (one["count"], one["rows"], one["beside"]) for key, one in found.items()} == {
        "cut train": (2, [9, 10], []),
        "repeats train": (2, [7, 8], [6, 6]),
        "labels train": (2, [1, 3], []),
        "labels_swapped train": (2, [4, 5], []),
        "leak validation": (2, [2, 4], [2, 11]),
        "leak_swapped validation": (1, [3], [2]),
        "leak_swapped test": (1, [2], [6]),
        "absent validation": (1, [], []),
    }
    assert found["cut train"]["more"] == {"tokens": 14 + 4, "tokens_share": pytest.approx(18 / 113)}
    assert found["absent validation"]["more"] == {"classes": ["not_equivalent"]}
    assert found["labels train"]["share"] == 2 / 11
    assert len(said) <= 3
    text = " ".join(map(str.strip, said))
    for words in (
        "2 validation pairs (50.0%) are also in train; 1 validation pair (25.0%) and 1 test pair (50.0%) are in train, "
        "swapped; 2 train pairs (18.2%) also have another label; 2 train pairs (18.2%) are cut to 16 tokens, the "
        "longer sentence first; no validation example of not_equivalent",
        "rows: audit.json, or --audit)",
    ):
        assert words in text, (words, said)
    for name in ("best", "last"):
        card = (tmp_path / "runs" / "a" / name / "README.md").read_text(encoding="utf-8")
        assert "| with several labels | train | 2 |" in card and "| in train, swapped | test | 1 |" in card
        texts = {text for pair in (*TRAIN, *VALIDATION) for text in pair[:2] if len(text) > 2}
        assert not [text for text in texts if re.search(rf"\b{text}\b", card)]
        about = json.loads((tmp_path / "runs" / "a" / name / "pairft.json").read_text(encoding="utf-8"))
        assert about["audit"]["leak"] == {"validation": 2} and "rows" not in json.dumps(about["audit"])


def test_audit_arrives(go, faulty, tmp_path, capsys):
    """It shows the whole table; the file has the same findings without it."""
    flags = ["--data", faulty, "--max-length", 16, "--max-steps", 1, "--run-name"]
    assert go(*flags, "a") == 0
    capsys.readouterr()
    assert go(*flags, "b", "--audit") == 0
    lines = capsys.readouterr().err.splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("audit "))
    table = [line.split("  ") for line in lines[head : head + 9]]
    assert [[cell.strip() for cell in row if cell.strip()] for row in table] == [
        ["audit", "split", "count", "share", "rows"],
        ["cut to --max-length", "train", "2", "18.2%", "9, 10; 18 tokens lost (15.9%)"],
        ["repeated", "train", "2", "18.2%", "7 (train 6), 8 (train 6)"],
        ["with several labels", "train", "2", "18.2%", "1, 3"],
        ["another label if swapped", "train", "2", "18.2%", "4, 5"],
        ["also in train", "validation", "2", "50.0%", "2 (train 2), 4 (train 11)"],
        ["in train, swapped", "validation", "1", "25.0%", "3 (train 2)"],
        ["classes without an example", "validation", "1", "50.0%", "not_equivalent"],
        ["in train, swapped", "test", "1", "50.0%", "2 (train 6)"],
    ]
    assert audited(tmp_path / "runs" / "b") == audited(tmp_path / "runs" / "a")


def test_clean_data_get_no_line(go, tmp_path, capsys):
    assert go("--max-steps", 1, "--run-name", "a") == 0
    assert "data:" not in capsys.readouterr().err
    content = json.loads((tmp_path / "runs" / "a" / "audit.json").read_text())
    assert content["findings"] == [] and content["examples"] == {"train": 60, "validation": 20, "test": 10}
    labels = [row["label"] for row in some_pairs("train", 60)]
    assert content["class_shares"]["train"]["equivalent"] == pytest.approx(sum(labels) / 60)
    assert "What is wrong" not in (tmp_path / "runs" / "a" / "last" / "README.md").read_text()
    assert go("--max-steps", 1, "--run-name", "b", "--audit") == 0
    assert "audit: nothing found" in capsys.readouterr().err


def test_a_resume_says_the_same_and_may_ask_for_the_table(go, faulty, tmp_path, capsys):
    flags = ["--data", faulty, "--epochs", 2, "--run-name", "a"]
    assert go(*flags) == 0
    run = tmp_path / "runs" / "a"
    before = (run / "audit.json").read_bytes()
    (run / "results.json").unlink(), (run / "audit.json").unlink()
    capsys.readouterr()
    assert go("--resume", *flags) == 0
    assert "data: 2 validation pairs" in capsys.readouterr().err
    assert (run / "audit.json").read_bytes() == before
    (run / "results.json").unlink()
    assert go("--resume", *flags, "--audit") == 0
    assert "with several labels" in capsys.readouterr().err


def test_the_findings_are_computed_once(go, tmp_path, monkeypatch):
    from pairft.data import audit

    faulty = write(tmp_path / "data", train=[*TRAIN, ("not", "cached", 1)], validation=VALIDATION)
    calls = []
    find = audit.find
    monkeypatch.setattr(audit, "find", lambda *given: calls.append(1) or find(*given))
    for name, flags in (("a", []), ("b", ["--seed", 1]), ("c", ["--max-length", 16]), ("d", ["--max-length", 16])):
        assert go("--data", faulty, "--max-steps", 1, "--run-name", name, *flags) == 0
    assert len(calls) == 2


def test_rows_of_one_file_keep_their_numbers(go, tmp_path):
    """A validation split held out from it has other row numbers, which nobody can look up."""
    pairs = [(f"a {n}", "b", n % 2) for n in range(28)] + [("x y", "z", 0), ("x y", "z", 1)]
    write_rows(tmp_path / "pairs.jsonl", rows_of(pairs))
    assert go("--data", tmp_path / "pairs.jsonl", "--max-steps", 1, "--run-name", "a") == 0
    found = audited(tmp_path / "runs" / "a")
    split = "train" if "labels train" in found else "validation"
    assert found[f"labels {split}"]["rows"] == [29, 30]
    assert found["often train"]["more"] == {"sentences": 1}  # b is in all of them


def test_a_sentence_in_very_many_pairs(go, tmp_path):
    """25 of 288 pairs have one sentence, on either side; 20 another; 19 a third, which is too few."""
    frequent = [("a b", str(n)) for n in range(13)] + [(f"{n} x", "a b") for n in range(12)]
    frequent += [("c d", f"{n} y") for n in range(20)] + [("e f", f"{n} z") for n in range(19)]
    pairs = [(*pair, n % 2) for n, pair in enumerate(frequent + [(f"{n} q", f"{n} r") for n in range(224)])]
    write(tmp_path / "data", train=pairs, validation=VALIDATION[:1] + TRAIN[:1])
    assert go("--data", tmp_path / "data", "--max-steps", 1, "--run-name", "a") == 0
    found = audited(tmp_path / "runs" / "a")["often train"]
    assert (found["count"], found["rows"], found["more"]) == (45, [1, 26], {"sentences": 2})
    assert found["share"] == pytest.approx(45 / 288)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [((0.5, 2.0), "a regression"), (("no", "yes"), "classes"), ((["x"], ["x", "y"]), "2 labels")],
)
def test_labels_of_every_kind_are_compared(labels, kind, go, tmp_path, capsys):
    """Of single sentences, too."""
    low, high = labels
    pairs = [("a", "x", low), ("b", "x", high), ("a", "x", high), ("b", "x", high), ("c", "x", low)]
    write(tmp_path / "data", train=pairs, validation=[("d", "x", low), ("b", "y", high)])
    flags = ["--task", "custom", "--text-columns", "sentence1", "--data", tmp_path / "data", "--max-steps", 1]
    assert go(*flags, "--run-name", "a") == 0
    assert kind in capsys.readouterr().err
    found = audited(tmp_path / "runs" / "a")
    assert {key: (one["count"], one["rows"], one["beside"]) for key, one in found.items()} == {
        "labels train": (2, [1, 3], []),
        "repeats train": (1, [4], [2]),
        "leak validation": (1, [2], [2]),
    }


def test_a_column_that_gives_the_label_away(go, tmp_path, capsys):
    """In half of the pairs, the second sentence has a word that only one class has. The score is scikit-learn's."""
    rows = some_pairs("train", 1000)
    for number, row in enumerate(rows):
        row["sentence2"] += f" {'cats' if row['label'] else 'dogs'} {number}" if number // 2 % 2 else f" {number}"
    write_rows(tmp_path / "data" / "train.jsonl", rows)
    write_rows(tmp_path / "data" / "validation.jsonl", some_pairs("validation", 20))
    flags = ["--data", tmp_path / "data", "--max-steps", 1, "--run-name"]
    assert go(*flags, "a") == 0
    assert "giveaway train" not in audited(tmp_path / "runs" / "a")
    assert go(*flags, "b", "--audit") == 0
    found = audited(tmp_path / "runs" / "b")["giveaway train"]["more"]
    assert found["column"] == "sentence2" and 0.65 < found["score"] < 0.9
    assert "one column predicts the label" in capsys.readouterr().err


def test_the_score_of_one_column_is_scikit_learns():
    import numpy

    from pairft.data.giveaway import score

    texts = [f"{'cat' if n % 3 else 'dog'} {n % 7}" for n in range(200)]
    labels = numpy.array([int(n % 3 > 0) if n % 5 else 1 for n in range(200)])
    held_out = numpy.arange(200) % 5 == 1
    found = score(texts, labels, held_out, regression=False)
    words = HashingVectorizer(n_features=2**18, binary=True).transform(texts)
    model = LogisticRegression(max_iter=200).fit(words[~held_out], labels[~held_out])
    assert found is not None
    assert found["score"] == pytest.approx(model.score(words[held_out], labels[held_out]))
    assert found["baseline"] == pytest.approx(labels[held_out].mean())
    assert score(texts, numpy.arange(200) // 4 % 2, held_out, regression=False) is None
    values = (labels * 2.5 + 0.1 * numpy.sin(numpy.arange(200))).astype(numpy.float32)
    found = score(texts, values, held_out, regression=True)
    assert found is not None and found["metric"] == "R²" and 0.5 < found["score"] < 1
    several = numpy.stack([labels, 1 - labels], axis=1).astype(numpy.float32)
    found = score(texts, several, held_out, regression=False)
    assert found is not None and found["score"] > found["baseline"]


def test_the_short_form_has_at_most_three_lines():
    kinds = [kind for kind in findings.WORDS if kind not in ("giveaway", "absent")]
    found = [Finding(kind, split, 12_345, 0.5) for kind in kinds for split in ("train", "validation", "test")]
    lines = findings.short(found, 128, "first")
    assert len(lines) == 3 and " ".join(lines).endswith("and 5 more   (rows: audit.json, or --audit)")
    one = [Finding("cut", "train", 1, 1e-5)]
    assert findings.short(one, 128, "first") == [
        "data: 1 train pair (< 0.1%) is cut to 128 tokens, the first sentence (rows: audit.json, or --audit)"
    ]
