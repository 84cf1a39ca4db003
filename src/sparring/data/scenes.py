"""The sentences that arithmetic problems are told in.

Placeholders: `{name}` the person, `{friend}` another one, `{he}`, `{He}`, `{him}` the person's pronouns, `{things}`
what is counted, `{n}` the first number, `{a}` and `{b}` two factors, `{k}` the operand of a step, `{doubles}` it as
a verb ("doubles", "triples"), `{twice}` k times in words, and `{half}` one k-th in words ("half", "a third").
"""

from __future__ import annotations

from dataclasses import dataclass

NAMES: tuple[tuple[str, str, str], ...] = tuple(
    [(name, "she", "her") for name in ("Ada", "Bea", "Clara", "Dina", "Elif", "Farah", "Grace", "Hana", "Ines", "Joy")]
    + [(name, "she", "her") for name in ("Kira", "Leila", "Mona", "Nadia")]
    + [(name, "he", "him") for name in ("Abel", "Boris", "Chen", "David", "Emil", "Felix", "Goran", "Hugo", "Ivan")]
    + [(name, "he", "him") for name in ("Jonas", "Karim", "Luis", "Marco", "Noah")]
)
DOUBLES = {2: "doubles", 3: "triples"}
TWICE = {2: "twice", 3: "3 times", 4: "4 times", 5: "5 times"}
HALF = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth"}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A setting: what is counted, and the sentences for each step.

    Attributes:
        things: Plural nouns.
        have: Openings that state the first number.
        groups: Openings that multiply, a · b.
        events: Middle sentences by operation.
        ask: The question where nothing happened after the opening.
        ask_now: The question after events.
        share: Endings that divide by `{k}` and ask for one part.
        compared: Whether `COMPARE` openings fit: the person owns the things.
    """

    things: tuple[str, ...]
    have: tuple[str, ...]
    groups: tuple[str, ...]
    events: dict[str, tuple[str, ...]]
    ask: str
    ask_now: tuple[str, ...]
    share: tuple[str, ...]
    compared: bool = True


COMPARE: dict[str, str] = {
    "+": "{friend} has {n} {things}. {name} has {k} more than {friend}.",
    "-": "{friend} has {n} {things}. {name} has {k} fewer than {friend}.",
    "*": "{friend} has {n} {things}. {name} has {twice} as many.",
    "/": "{friend} has {n} {things}. {name} has only {half} as many.",
}

_OWNED = "How many {things} does {name} have?"
_OWNED_NOW = ("How many {things} does {name} have now?", "How many {things} does {he} have in the end?")

COLLECTION = Scene(
    things=("marbles", "stickers", "stamps", "shells", "beads", "coins", "buttons", "postcards", "badges", "crayons"),
    have=("{name} has {n} {things}.", "{name} owns {n} {things}.", "There are {n} {things} in {name}'s collection."),
    groups=("{name} has {a} boxes with {b} {things} in each.", "{name} keeps {b} {things} in each of {a} jars."),
    events={
        "+": (
            "{friend} gives {him} {k} more.",
            "{He} buys {k} more.",
            "{He} finds {k} more in a drawer.",
            "{He} wins {k} more at a fair.",
            "An aunt sends {him} {k} more.",
        ),
        "-": (
            "{He} gives {k} of them to {friend}.",
            "{He} loses {k} of them.",
            "{He} sells {k} of them.",
            "{He} trades {k} of them for a book.",
            "{He} leaves {k} of them at school.",
        ),
        "*": ("Over the summer {he} {doubles} the collection.", "A big parcel then {doubles} the collection."),
        "/": ("{He} keeps only {half} of them and donates the rest.", "After a move only {half} of them are left."),
    },
    ask=_OWNED,
    ask_now=_OWNED_NOW,
    share=(
        "{He} shares them equally among {k} friends. How many {things} does each friend get?",
        "{He} sorts them into {k} equal piles. How many {things} are in each pile?",
    ),
)

BAKERY = Scene(
    things=("rolls", "muffins", "pies", "cookies", "bagels", "pretzels", "tarts", "buns"),
    have=("{name} bakes {n} {things}.", "{name} opens the bakery with {n} {things}."),
    groups=("{name} bakes {a} trays of {b} {things}.", "{name} fills {a} bags with {b} {things} each."),
    events={
        "+": (
            "{He} bakes {k} more.",
            "{friend} brings {k} more.",
            "Another oven adds {k} more.",
            "At ten {he} makes {k} more.",
        ),
        "-": (
            "{He} sells {k} of them.",
            "Customers buy {k} of them.",
            "A school orders {k} of them.",
            "{friend} takes {k} of them home.",
        ),
        "*": ("A second batch {doubles} the number of {things}.", "With new helpers {he} {doubles} that number."),
        "/": ("By noon only {half} of them are left.", "{He} keeps {half} of them and gives the rest away."),
    },
    ask=_OWNED,
    ask_now=_OWNED_NOW,
    share=(
        "{He} packs them into {k} equal boxes. How many {things} are in each box?",
        "{He} sends equal shares to {k} cafes. How many {things} does each cafe get?",
    ),
)

SAVINGS = Scene(
    things=("dollars", "euros", "pounds", "francs"),
    have=("{name} has {n} {things} in a jar.", "{name} has saved {n} {things}."),
    groups=(
        "{name} has saved {b} {things} a week for {a} weeks.",
        "{name} has {a} envelopes with {b} {things} in each.",
    ),
    events={
        "+": (
            "{He} gets {k} {things} as a gift.",
            "{He} earns {k} {things} by walking dogs.",
            "{friend} pays {him} back {k} {things}.",
            "{He} sells a lamp for {k} {things}.",
        ),
        "-": (
            "{He} spends {k} {things} on a game.",
            "{He} pays {k} {things} for a shirt.",
            "{He} lends {friend} {k} {things}.",
            "{He} gives {k} {things} to charity.",
        ),
        "*": ("A prize then {doubles} the money.", "By June {he} {doubles} the sum."),
        "/": ("{He} keeps {half} of the money and gives away the rest.", "After a trip only {half} of it is left."),
    },
    ask=_OWNED,
    ask_now=_OWNED_NOW,
    share=(
        "{He} spends it all on {k} tickets of equal price. How many {things} does one ticket cost?",
        "{He} splits it equally among {k} cousins. How many {things} does each cousin get?",
    ),
)

ORCHARD = Scene(
    things=("apples", "pears", "plums", "peaches", "lemons", "oranges", "figs", "limes"),
    have=("{name} picks {n} {things}.", "{name} carries {n} {things} to the barn."),
    groups=("{name} picks {b} {things} from each of {a} trees.", "{name} has {a} crates of {b} {things}."),
    events={
        "+": (
            "{He} picks {k} more after lunch.",
            "{friend} adds {k} more.",
            "A neighbor brings {k} more.",
            "{He} finds {k} more under a tree.",
        ),
        "-": (
            "{He} sells {k} of them at the market.",
            "{He} throws away {k} bad ones.",
            "{He} gives {k} of them to {friend}.",
            "Birds spoil {k} of them.",
        ),
        "*": ("By Friday {he} {doubles} the harvest.", "A sunny week then {doubles} the harvest."),
        "/": ("{He} keeps {half} of them and sells the rest.", "After a frost only {half} of them are left."),
    },
    ask=_OWNED,
    ask_now=_OWNED_NOW,
    share=(
        "{He} fills {k} baskets equally. How many {things} are in each basket?",
        "{He} splits them equally among {k} families. How many {things} does each family get?",
    ),
)

TRAIN = Scene(
    things=("people", "passengers", "travelers"),
    have=(
        "A train leaves {name}'s town with {n} {things} on board.",
        "{name} counts {n} {things} on a ferry.",
        "{name} drives a bus with {n} {things} on board.",
    ),
    groups=(
        "{name} rides a train with {a} cars and {b} {things} in each car.",
        "{name} sees {a} rows of {b} {things} on a ferry.",
    ),
    events={
        "+": (
            "At the bridge {k} {things} get on.",
            "At the park {k} more get on.",
            "At the school {k} {things} board.",
        ),
        "-": ("At the harbor {k} {things} get off.", "At the museum {k} of them leave.", "At the zoo {k} get off."),
        "*": ("At the stadium the number on board {doubles}.",),
        "/": ("At the airport only {half} of them stay on board.",),
    },
    ask="How many {things} are on board?",
    ask_now=("How many {things} are on board now?", "How many {things} are on board in the end?"),
    share=("They leave in {k} equal groups. How many {things} are in each group?",),
    compared=False,
)

SCENES: tuple[Scene, ...] = (COLLECTION, BAKERY, SAVINGS, ORCHARD, TRAIN)
