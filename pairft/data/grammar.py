"""The builtin sentence pairs: news-like English from a small grammar, so that a first run needs no download.

An event is drawn, told once, and told again. In half of the pairs one to three parts of it differ the second time:
who did it to whom, what was done, a number, a day, a place. Counting words must not give the answer away, so both
halves draw their wordings alike: where a negative puts "sued" for "bought", a positive puts "acquired"; where a
negative writes "15" against "twelve", a positive writes "12" against "twelve". Each word is then as likely to differ
between the sentences of a positive as of a negative, and what is left to learn is which wordings mean the same.
"""

import random
from dataclasses import dataclass, replace
from typing import Any

SPLIT_SIZES = {"train": 2000, "validation": 400, "test": 400}  # pairs
LABEL_NAMES = ("not_equivalent", "equivalent")

Verb = tuple[str, str, str]  # past, participle, base


@dataclass(frozen=True)
class Opposites:
    """Two groups of verbs: within a group they say the same, across they don't. `exact`: to deny the one is to say the
    other, as with approving and rejecting, but not with praising and condemning."""

    groups: tuple[tuple[Verb, ...], tuple[Verb, ...]]
    exact: bool


def verbs(same: str, opposite: str, exact: bool = False) -> Opposites:
    """From "past/base" or "past/participle/base", comma-separated."""

    def group(text: str) -> tuple[Verb, ...]:
        forms = [word.strip().split("/") for word in text.split(",")]
        return tuple((form[0], form[-2], form[-1]) for form in forms)

    return Opposites((group(same), group(opposite)), exact)


@dataclass(frozen=True)
class Scene:
    """Who may meet whom, what they may do, and how a number is told."""

    parties: tuple[str, ...]
    verbs: tuple[Opposites, ...]
    amount: str
    objects: tuple[str, ...] = ()  # none: another party is the object, and the roles can be swapped


COMPANIES = tuple(
    f"{name} {kind}"
    for name in ("Northwind", "Halden", "Meridian", "Oakfield", "Bluewater", "Castellan", "Redstone", "Larkspur")
    for kind in ("Airlines", "Bank", "Energy", "Foods", "Motors")
)
OFFICIALS = tuple(
    f"{role} {name}"
    for role in ("Minister", "Senator", "Governor", "Judge")
    for name in ("Alvarez", "Brandt", "Chen", "Dubois", "Eriksen", "Farouk", "Gallagher", "Haddad", "Ivanov", "Okafor")
)
TEAMS = tuple(
    f"the {name}"
    for name in ("Falcons", "Rangers", "Mariners", "Wolves", "Comets", "Pirates", "Hornets", "Bulldogs", "Giants")
)
BODIES = ("the city council", "the parliament", "the board", "the committee", "the senate", "the court", "the union")
PROPOSALS = ("the budget", "the new contract", "the tax plan", "the housing bill", "the trade deal", "the rail project",
             "the pension reform", "the water treaty", "the wage offer", "the hospital merger")  # fmt: skip

SCENES = (
    Scene(
        COMPANIES,
        (
            verbs("bought/buy, purchased/purchase, acquired/acquire", "sued/sue, prosecuted/prosecute"),
            verbs("supported/support, backed/back", "opposed/oppose, resisted/resist", exact=True),
        ),
        "after {} days of talks",
    ),
    Scene(
        OFFICIALS,
        (
            verbs("praised/praise, commended/commend", "criticized/criticize, condemned/condemn, denounced/denounce"),
            verbs("trusted/trust, believed/believe", "doubted/doubt, distrusted/distrust", exact=True),
        ),
        "in front of {} reporters",
    ),
    Scene(
        TEAMS,
        (verbs("beat/beaten/beat, defeated/defeat, overcame/overcome/overcome", "avoided/avoid, evaded/evade"),),
        "before {} thousand fans",
    ),
    Scene(
        BODIES,
        (
            verbs("approved/approve, accepted/accept", "rejected/reject, turned down/turn down", exact=True),
            verbs("delayed/delay, postponed/postpone", "hastened/hasten, accelerated/accelerate, sped up/speed up"),
        ),
        "by {} votes",
        PROPOSALS,
    ),
)  # fmt: skip

CAPITALS = {
    "Paris": "French", "London": "British", "Berlin": "German", "Tokyo": "Japanese", "Rome": "Italian",
    "Madrid": "Spanish", "Vienna": "Austrian", "Athens": "Greek", "Cairo": "Egyptian", "Moscow": "Russian",
    "Beijing": "Chinese", "Oslo": "Norwegian", "Warsaw": "Polish", "Dublin": "Irish", "Lima": "Peruvian",
}  # fmt: skip
NUMBERS = ("three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
           "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty")  # fmt: skip
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
# What happened as well: a subject, and two groups of opposite predicates.
SIDELINES = tuple(
    (subject, tuple(tuple(group.split(", ")) for group in (up, down)))
    for subject, up, down in (
        ("share prices", "rose, climbed", "fell, dropped"),
        ("unemployment", "grew, rose", "shrank, fell"),
        ("the workers", "walked out, went on strike", "came back, returned to work"),
        ("the talks", "collapsed, failed", "succeeded, went well"),
        ("the weather", "improved, got better", "worsened, got worse"),
    )
)
# How often the label hangs on a part, and on how many parts at once. Found by trial (docs/log.md): with a single part
# in each pair, the encoder is still at chance after 3 epochs.
FOCI = {"place": 6, "verb": 3, "negation": 2, "day": 3, "sideline": 1, "amount": 2, "roles": 2}
FOCUS_COUNTS = (1, 2, 2, 2, 3, 3)
LINKS = ("after", "because", "while", "although")


@dataclass(frozen=True)
class Event:
    """What a sentence says, apart from how it says it."""

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
    """Two sentences and whether they say the same (1) or not (0); `foci` are the parts on which that hangs."""

    sentence1: str
    sentence2: str
    label: int
    foci: tuple[str, ...]


@dataclass(frozen=True)
class Wording:
    """How one sentence says it: for each part, which of its wordings."""

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
    """One event, every part of it drawn independently."""
    scene = rng.choice(SCENES)
    agent = rng.choice(scene.parties)
    patient = rng.choice(scene.objects or tuple(party for party in scene.parties if party != agent))
    return Event(
        scene, agent, patient, rng.choice(scene.verbs), rng.randrange(2), rng.randrange(3, 21), rng.randrange(1, 29),
        rng.choice(MONTHS), rng.choice(list(CAPITALS)), rng.choice(LINKS), rng.choice(SIDELINES), rng.randrange(2),
    )  # fmt: skip


def tell(event: Event, wording: Wording, parts: frozenset[str]) -> str:
    """One sentence. `parts`: which of amount, place, day and sideline it mentions."""
    # Denying the opposite says the same: "did not reject" for "approved".
    group = event.verbs.groups[event.side ^ wording.negated]
    past, participle, base = group[wording.verb % len(group)]
    if wording.passive:
        be = "were" if event.patient in TEAMS else "was"
        verb = f"{be}{' not' if wording.negated else ''} {participle} by"
        clause = f"{event.patient} {verb} {event.agent}"
    else:
        clause = f"{event.agent} {f'did not {base}' if wording.negated else past} {event.patient}"
    if "amount" in parts:
        clause += " " + event.scene.amount.format(
            NUMBERS[event.amount - 3] if wording.amount_in_words else event.amount
        )
    if "place" in parts:
        clause += f" in the {CAPITALS[event.city]} capital" if wording.city_by_country else f" in {event.city}"
    date = ""
    if "day" in parts:
        day = ordinal(event.day) if wording.ordinal_day else str(event.day)
        date = f"on {day} {event.month}" if wording.day_first else f"on {event.month} {day}"
        clause = f"{date}, {clause}" if wording.date_first else f"{clause} {date}"
    if "sideline" in parts:
        subject, groups = event.sideline
        predicates = groups[event.sideline_side]
        aside = f"{event.link} {subject} {predicates[wording.sideline % len(predicates)]}"
        clause = f"{aside}, {clause}" if wording.sideline_first else f"{clause} {aside}"
    return clause[0].upper() + clause[1:] + "."


def other(rng: random.Random, low: int, high: int, than: int) -> int:
    """A number in [low, high) that is another."""
    return rng.choice([n for n in range(low, high) if n != than])


def draw_foci(rng: random.Random, event: Event) -> set[str]:
    """The parts on which a label hangs: one to three, at most one of them about who did what."""
    out = {"roles"} if event.scene.objects else set()
    out |= set() if event.verbs.exact else {"negation"}
    number = rng.choice(FOCUS_COUNTS)
    foci: set[str] = set()
    while len(foci) < number:
        parts = [part for part in FOCI if part not in out]
        part = rng.choices(parts, [FOCI[part] for part in parts])[0]
        foci.add(part)
        out |= {"verb", "negation", "roles"} if part in ("verb", "negation", "roles") else {part}
    return foci


def draw_pair(rng: random.Random, label: int) -> Pair:
    """One pair with the given label.

    In the parts of the focus, the second sentence is always worded otherwise than the first, whatever the label; in a
    negative they mean something else as well. What else is reworded is the same in both classes.
    """
    event = draw_event(rng)
    foci = draw_foci(rng, event)
    # Some pairs share every word: only their order tells who did it to whom.
    same_words = not event.scene.objects and rng.random() < 0.05
    if same_words:
        foci = {"roles"}
    parts = frozenset(foci | {part for part in ("amount", "place", "day", "sideline") if rng.random() < 0.2})
    parts |= {"day"} if same_words else set()
    flip = {part: rng.random() < 0.5 for part in ("negated", "words", "ordinal", "day_first", "country")}
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
    told = event if label else replace(event, **{k: v for part in foci for k, v in changes[part].items()})
    return Pair(tell(event, first, parts), tell(told, second, parts), label, tuple(sorted(foci)))
