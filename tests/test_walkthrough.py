"""The walk-through and the glossaries: text, notebook and links agree, and the faults show as the text says."""

import json
import math
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import glossary
import walkthrough_notebook

TEXT = (ROOT / "docs" / "walkthrough.py").read_text(encoding="utf-8")
NOTEBOOK = (ROOT / "docs" / "walkthrough.ipynb").read_text(encoding="utf-8")
TERMS = [term for theme in glossary.themes() for term in theme["terms"]]


def test_the_notebook_has_the_cells_of_the_text():
    wanted = walkthrough_notebook.notebook_of(TEXT).cells
    cells = json.loads(NOTEBOOK)["cells"]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in cells] == [
        (cell.cell_type, cell.source) for cell in wanted
    ], "run make walkthrough"


def test_the_notebook_was_executed_and_says_nothing_of_the_machine():
    notebook = json.loads(NOTEBOOK)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"stream", "display_data"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    printed = "".join("".join(output.get("text", "")) for output in outputs)
    assert not re.search(r"(?<![\w.])/(tmp|home|root|work|usr|opt)/|\b\d+(\.\d+)? ?s\b|examples/s", printed)
    assert set(notebook["metadata"]["language_info"]) == {"name"}
    assert len(NOTEBOOK) < 1_000_000


def test_links_to_code_have_the_current_lines():
    assert len(glossary.LINK.findall(TEXT)) >= 10
    assert glossary.relinked(TEXT) == TEXT, "run python docs/generate.py"
    assert glossary.relinked_notebook(NOTEBOOK) == NOTEBOOK, "run python docs/generate.py"


def test_a_link_follows_its_line():
    link = '[errors.py, line {}](../pairft/errors.py#L{} "class UserError")'
    [line] = [
        number
        for number, text in enumerate((ROOT / "pairft" / "errors.py").read_text(encoding="utf-8").splitlines(), 1)
        if text.startswith("class UserError")
    ]
    assert glossary.relinked(f"See {link.format(1, 1)}.") == f"See {link.format(line, line)}."
    with pytest.raises(LookupError, match="no line with class Nonesuch"):
        glossary.line_of("pairft/errors.py", "class Nonesuch")


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_glossary_defines_each_term_once(language):
    titles = [glossary.heading(term, language) for term in TERMS]
    anchors = list(map(glossary.anchor, titles))
    assert len(set(anchors)) == len(TERMS)
    name = {"en": "glossary.md", "fr": "glossary.fr.md"}[language]
    document = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### (.*)$", document, re.MULTILINE)) == sorted(map(glossary.escaped, titles))
    assert sorted(re.findall(r"\]\(#([^)]*)\)", document)) == sorted(anchors)
    others = [glossary.anchor(title) for title in re.findall(r"^##? (.*)$", document, re.MULTILINE)]
    assert not set(others) & set(anchors), "GitHub numbers the second of two equal anchors"
    assert len(re.findall(r"^Code ?: \[[\w.]+, \w+ \d+\]\(\.\./[\w/.]+#L\d+\)$", document, re.MULTILINE)) == len(TERMS)


def test_terms_are_complete_and_short():
    for term in TERMS:
        assert set(term) == {"en", "fr", "code", "text", "texte"}, term
        for key in ("text", "texte"):
            unquoted = re.sub(r"[«\"][^»\"]*[»\"]", "x", term[key])
            sentences = re.findall(r"[.?!](?= [A-ZÀÉÊ«`]| \d|$)", unquoted)
            assert 1 <= len(sentences) <= 4 and len(term[key]) < 400, term


@pytest.mark.slow
def test_the_walkthrough_shows_what_it_says(tmp_path):
    """Its own assertions compare each number computed by hand. Here: every fault shows in the number that the text
    names."""
    code = (
        "import json, runpy, sys\n"
        "found = runpy.run_path(sys.argv[1])\n"
        "numbers = {key: found[key].item() for key in ('summed_error', 'means_error')}\n"
        "keys = ('runs', 'before', 'scores', 'wrong', 'topics', 'kept')\n"
        "open(sys.argv[2], 'w').write(json.dumps({**numbers, **{key: found[key] for key in keys}}))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(ROOT / "docs" / "walkthrough.py")]
    command.append(str(tmp_path / "found.json"))
    environment = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["before"] < 0.6 and len(found["scores"]) == 5 and len(found["wrong"]) >= 10
    assert not any("commute" in wording for topic in found["topics"] if topic not in found["kept"] for wording in topic)
    runs = found["runs"]

    def mean(fault, first, last):
        return sum(runs[fault]["losses"][first:last]) / (last - first)

    good = runs["none"]
    assert mean("none", 0, 8) == pytest.approx(math.log(2), abs=0.1)
    assert mean("none", 72, 80) < 0.6 and good["accuracy"] > 0.62
    assert max(good["norms"]) > 50 * sorted(good["norms"])[-2]  # the accident
    assert mean("no clipping", 0, 40) == pytest.approx(mean("none", 0, 40), abs=0.05)
    assert mean("no clipping", 72, 80) > mean("none", 72, 80) + 0.05
    assert mean("accumulation without division", 0, 8) == pytest.approx(2 * math.log(2), abs=0.2)
    assert mean("labels swapped", 72, 80) > mean("none", 72, 80) + 0.03
    assert mean("ten times the learning rate", 72, 80) > 0.65
    assert runs["ten times the learning rate"]["accuracy"] < 0.6
    for fault in ("labels swapped", "ten times the learning rate"):  # alike, both near ln 2
        assert mean(fault, 72, 80) == pytest.approx(math.log(2), abs=0.05)
    for fault in ("accumulation without division", "padding seen by attention"):  # the accuracy doesn't find them
        assert abs(runs[fault]["accuracy"] - good["accuracy"]) < max(found["scores"]) - min(found["scores"])
    assert mean("padding seen by attention", 72, 80) == pytest.approx(mean("none", 72, 80), abs=0.15)
    for fault, run in runs.items():
        moved = abs(run["alone"] - run["beside"])
        assert moved > 1e-3 if fault == "padding seen by attention" else moved < 1e-4, fault
    assert found["summed_error"] < 1e-4 and found["means_error"] > 0.05
