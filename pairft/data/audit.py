"""What is wrong with the data, said before training: in a few lines at every start, in a table with --audit, and in
audit.json."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.config import Config
from pairft.data import findings
from pairft.data.cache import cache_errors
from pairft.data.faults import class_shares, find
from pairft.data.findings import Finding
from pairft.data.giveaway import giveaways
from pairft.data.pairs import Pairs
from pairft.output import say

if TYPE_CHECKING:
    from datasets import Dataset

VERSION = 1  # part of the cache key: raise it when the same data are to give other findings


def check_data(
    config: Config, pairs: Pairs, tokens: Mapping[str, "Dataset"], max_length: int, run_dir: Path
) -> list[Finding]:
    """Say what is wrong with the data, and write it to the run's audit.json."""
    found = audit(pairs, tokens, whole=config.audit)
    file = run_dir / "audit.json"
    lines = findings.table(found) if config.audit else findings.short(found, max_length, config.truncation)
    for line in lines:
        say(line)
    labelled = [split for split in tokens if split != "test"]
    content = {
        "examples": {split: len(rows) for split, rows in tokens.items()},
        "class_shares": {split: class_shares(pairs.label_names, tokens[split]) for split in labelled},
        "max_length": max_length,
        "truncation": config.truncation,
        "whole": config.audit,
        "findings": [dataclasses.asdict(finding) for finding in found],
    }
    disk.write_text(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return found


@cache_errors()
def audit(pairs: Pairs, tokens: Mapping[str, "Dataset"], whole: bool) -> list[Finding]:
    """What is wrong with the data. `whole`: also whether one column gives the label away. The result is cached beside
    the tokens."""
    import datasets

    key = repr((VERSION, whole, [(split, rows._fingerprint) for split, rows in tokens.items()]))
    name = f"pairft-audit-{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    file = Path(datasets.config.HF_DATASETS_CACHE) / name
    try:
        return [from_json(content) for content in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError):  # it isn't there, or it is damaged
        pass
    found = find(pairs, tokens)
    if whole and len(pairs.text_columns) == 2:
        found += giveaways(pairs.splits["train"], pairs.text_columns, tokens["train"], pairs.label_names is None)
    part = file.with_name(f"{name}.{os.getpid()}")  # other runs on the same data may write it, too
    part.write_text(json.dumps([dataclasses.asdict(finding) for finding in found]) + "\n", encoding="utf-8")
    os.replace(part, file)
    return found


def from_json(content: dict[str, Any]) -> Finding:
    return Finding(**{**content, "rows": tuple(content["rows"]), "beside": tuple(content["beside"])})
