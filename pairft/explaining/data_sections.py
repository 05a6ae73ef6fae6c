"""The sections about the data: from text to a batch. Each returns the values for its lines, and its table."""

from collections.abc import Mapping
from typing import Any

from pairft.explaining.explained import Explained
from pairft.explaining.pair import COMPANION
from pairft.explaining.terminal import INDENT, Terminal, shortened, table, visible

Section = tuple[str, dict[str, Any], list[str]]  # template, values, table


def text(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    room = (terminal.width - len(INDENT)) * min(terminal.blocks, 2) - 20  # two lines for each, or one
    first, second = (shortened(visible(sentence), room) for sentence in of.sentences)
    return words["text.lines"], {"first": first, "second": second}, []


def tokens(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    pair = of.pair
    rows = {"token": pair.tokens, "id": list(map(str, pair.ids))}
    if pair.segments is not None:
        rows["segment"] = list(map(str, pair.segments))
    lines = table([words[name] for name in rows], list(rows.values()), terminal, terminal.blocks)
    template = words["tokens.lines"] + "\n" + words["segments" if pair.segments else "no segments"]
    return template, {"count": len(pair.tokens), "vocabulary": grouped(of.vocabulary, words)}, lines


def special(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    pair, known = of.pair, set(of.tokenizer.all_special_ids) - {of.tokenizer.unk_token_id}
    found = [f"{token} ({index})" for token, index in zip(pair.tokens, pair.ids, strict=True) if index in known]
    unknown = pair.ids.count(of.tokenizer.unk_token_id)
    said = words["unknown"].format(unk=of.tokenizer.unk_token, number=unknown) if unknown else ""
    return words["special.lines"], {"special": words["and"].join(dict.fromkeys(found)), "unknown": said}, []


def truncation(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    pair = of.pair
    cut = shortened(visible(" ".join(pair.cut)), terminal.width // 2)
    values = {"count": len(pair.tokens), "limit": pair.max_length, "cut": cut}
    if pair.is_cut:
        whole = len(pair.whole)
        return words["truncation.lines"], {**values, "whole": whole, "number": whole - len(pair.tokens)}, []
    template = words["fits.lines"] + (" " + words["trial"] if pair.cut else "")
    return template, {**values, "trial": pair.trial_length}, []


def padded(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    names, rows = [], []
    of_both = zip(of.batch.input_ids.tolist(), of.batch.attention_mask.tolist(), strict=True)
    for number, (ids, mask) in enumerate(of_both, 1):
        names += [words["ids of"].format(number=number), words["mask of"].format(number=number)]
        rows += [list(map(str, ids)), list(map(str, mask))]
    values = {
        "companion": " / ".join(COMPANION),
        "pad": of.tokenizer.pad_token,
        "pad_id": of.tokenizer.pad_token_id,
    }
    return words["padded.lines"], values, table(names, rows, terminal)


def packed(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    rows = [list(map(str, found[0].tolist())) for found in (of.packed.input_ids, of.packed.position_ids)]
    tail = of.packed.lengths[1] + 2  # so that the second pair's first position is seen
    slots, saved = of.batch.input_ids.numel(), of.batch.input_ids.numel() - of.packed.num_tokens
    values = {
        "cu_seqlens": of.packed.cu_seqlens.tolist(),
        "slots": of.packed.num_tokens,
        "padded_slots": slots,
        "saved": saved,
        "share": round(100 * saved / slots),
    }
    return words["packed.lines"], values, table(["input_ids", "position_ids"], rows, terminal, tail=tail)


def grouped(value: int, words: Mapping[str, str]) -> str:
    """A number with the language's separator of thousands."""
    return f"{value:,}".replace(",", words["thousands"])
