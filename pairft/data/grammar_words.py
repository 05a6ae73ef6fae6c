"""The words of the builtin sentence pairs: who may do what to whom, where, when, and what happens as well."""

from dataclasses import dataclass

Verb = tuple[str, str, str]  # past, participle, base


@dataclass(frozen=True)
class Opposites:
    """Two groups of verbs that mean the same within a group and the opposite across groups. `exact`: to deny one is to
    say the other, as with approving and rejecting, but not with praising and condemning."""

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
    """Who may meet whom, what they may do, and the phrase for a number."""

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
# What else happened: a subject, and two groups of opposite predicates.
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
LINKS = ("after", "because", "while", "although")
