"""The builtin sentence pairs: news-like English from a small grammar, so that a first run needs no download.

Each pair tells one event twice. In half of the pairs, one to three aspects of the event differ the second time: who did
it to whom, what was done, a number, a day, a place. To keep word counts from giving the label away, both classes draw
their wordings in the same way: if a negative replaces "bought" by "sued", a positive replaces it by "acquired"; if a
negative writes "15" against "twelve", a positive writes "12" against "twelve". A word is then as likely to differ
between the sentences of a positive as of a negative. What is left to learn is which wordings mean the same.
"""

import random
from dataclasses import dataclass, replace
from typing import Any

from pairft.data.grammar_words import CAPITALS, LINKS, MONTHS, NUMBERS, SCENES, SIDELINES, TEAMS, Opposites, Scene

SPLIT_SIZES = {"train": 2000, "validation": 400, "test": 400}  # pairs
LABEL_NAMES = ("not_equivalent", "equivalent")

# Weights of the aspects that a label depends on, and how many at once. Found by trial (docs/log.md): with a single
# aspect in each pair, the encoder is still at chance after 3 epochs.
FOCI = {"place": 6, "verb": 3, "negation": 2, "day": 3, "sideline": 1, "amount": 2, "roles": 2}
FOCUS_COUNTS = (1, 2, 2, 2, 3, 3)


@dataclass(frozen=True)
class Event:
    """What a sentence says, without its wording."""

    scene: Scene
    agent: str
    patient: str
    verbs: Opposites
    side: int  # which of the opposites happened
    amount: int
    day: int
    month: str
    city: str
    link: str
    sideline: tuple[str, tuple[tuple[str, ...], ...]]
    sideline_side: int


@dataclass(frozen=True)
class Pair:
    """Two sentences and whether they mean the same (1) or not (0). `foci`: the aspects that this depends on."""

    sentence1: str
    sentence2: str
    label: int
    foci: tuple[str, ...]


@dataclass(frozen=True)
class Wording:
    """How one sentence says it: a choice of wording for each aspect."""

    verb: int = 0
    negated: bool = False  # "did not reject" for "approved"
    passive: bool = False
    amount_in_words: bool = False
    ordinal_day: bool = False  # "March 14th", not "March 14"
    day_first: bool = False
    city_by_country: bool = False  # "the French capital", not "Paris"
    sideline: int = 0
    sideline_first: bool = False
    date_first: bool = False


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 4th, …"""
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def draw_event(rng: random.Random) -> Event:
    """One event, every aspect drawn independently."""
    scene = rng.choice(SCENES)
    agent = rng.choice(scene.parties)
    patient = rng.choice(scene.objects or tuple(party for party in scene.parties if party != agent))
    return Event(
        scene, agent, patient, rng.choice(scene.verbs), rng.randrange(2), rng.randrange(3, 21), rng.randrange(1, 29),
        rng.choice(MONTHS), rng.choice(list(CAPITALS)), rng.choice(LINKS), rng.choice(SIDELINES), rng.randrange(2),
    )  # fmt: skip


def tell(event: Event, wording: Wording, aspects: frozenset[str]) -> str:
    """One sentence. `aspects`: which of amount, place, day and sideline it mentions."""
    # To deny the opposite is to say the same: "did not reject" for "approved".
    group = event.verbs.groups[event.side ^ wording.negated]
    past, participle, base = group[wording.verb % len(group)]
    if wording.passive:
        be = "were" if event.patient in TEAMS else "was"
        verb = f"{be}{' not' if wording.negated else ''} {participle} by"
        clause = f"{event.patient} {verb} {event.agent}"
    else:
        clause = f"{event.agent} {f'did not {base}' if wording.negated else past} {event.patient}"
    if "amount" in aspects:
        clause += " " + event.scene.amount.format(
            NUMBERS[event.amount - 3] if wording.amount_in_words else event.amount
        )
    if "place" in aspects:
        clause += f" in the {CAPITALS[event.city]} capital" if wording.city_by_country else f" in {event.city}"
    date = ""
    if "day" in aspects:
        day = ordinal(event.day) if wording.ordinal_day else str(event.day)
        date = f"on {day} {event.month}" if wording.day_first else f"on {event.month} {day}"
        clause = f"{date}, {clause}" if wording.date_first else f"{clause} {date}"
    if "sideline" in aspects:
        subject, groups = event.sideline
        predicates = groups[event.sideline_side]
        aside = f"{event.link} {subject} {predicates[wording.sideline % len(predicates)]}"
        clause = f"{aside}, {clause}" if wording.sideline_first else f"{clause} {aside}"
    return clause[0].upper() + clause[1:] + "."


def other(rng: random.Random, low: int, high: int, than: int) -> int:
    """A number in [low, high) other than `than`."""
    return rng.choice([n for n in range(low, high) if n != than])


def draw_foci(rng: random.Random, event: Event) -> set[str]:
    """The aspects that a label depends on: one to three, at most one of them about who did what."""
    out = {"roles"} if event.scene.objects else set()
    out |= set() if event.verbs.exact else {"negation"}
    number = rng.choice(FOCUS_COUNTS)
    foci: set[str] = set()
    while len(foci) < number:
        aspects = [aspect for aspect in FOCI if aspect not in out]
        aspect = rng.choices(aspects, [FOCI[aspect] for aspect in aspects])[0]
        foci.add(aspect)
        out |= {"verb", "negation", "roles"} if aspect in ("verb", "negation", "roles") else {aspect}
    return foci


def draw_pair(rng: random.Random, label: int) -> Pair:
    """One pair with the given label.

    The second sentence words the aspects in focus differently, whatever the label; in a negative it also changes their
    meaning. Everything else is reworded in the same way in both classes.
    """
    event = draw_event(rng)
    foci = draw_foci(rng, event)
    # Some pairs share every word: only their order tells who did it to whom.
    same_words = not event.scene.objects and rng.random() < 0.05
    if same_words:
        foci = {"roles"}
    aspects = frozenset(foci | {aspect for aspect in ("amount", "place", "day", "sideline") if rng.random() < 0.2})
    aspects |= {"day"} if same_words else set()
    flip = {aspect: rng.random() < 0.5 for aspect in ("negated", "words", "ordinal", "day_first", "country")}
    first = Wording(
        rng.randrange(6), "negation" in foci and flip["negated"], rng.random() < 0.3, flip["words"], flip["ordinal"],
        flip["day_first"], flip["country"], rng.randrange(6), rng.random() < 0.3, rng.random() < 0.3,
    )  # fmt: skip
    second = replace(
        first,
        verb=first.verb + ("verb" in foci),
        negated=first.negated ^ ("negation" in foci),
        passive=first.passive ^ (not same_words and rng.random() < (0.5 if "roles" in foci else 0.1)),
        amount_in_words=first.amount_in_words ^ ("amount" in foci),
        ordinal_day=first.ordinal_day ^ ("day" in foci),
        city_by_country=first.city_by_country ^ ("place" in foci),
        sideline=first.sideline + ("sideline" in foci),
        sideline_first=first.sideline_first ^ (rng.random() < 0.2),
        date_first=first.date_first ^ (same_words or rng.random() < 0.2),
        day_first=first.day_first ^ (rng.random() < 0.1),
    )
    changes: dict[str, dict[str, Any]] = {
        "verb": {"side": 1 - event.side},
        "negation": {"side": 1 - event.side},
        "roles": {"agent": event.patient, "patient": event.agent},
        "amount": {"amount": other(rng, 3, 21, event.amount)},
        "day": {"day": other(rng, 1, 29, event.day)},
        "place": {"city": rng.choice([city for city in CAPITALS if city != event.city])},
        "sideline": {"sideline_side": 1 - event.sideline_side},
    }
    told = event if label else replace(event, **{k: v for aspect in foci for k, v in changes[aspect].items()})
    return Pair(tell(event, first, aspects), tell(told, second, aspects), label, tuple(sorted(foci)))
