"""Which fields of a rule belong to which detection type: the one table that checking and docs go by."""

from __future__ import annotations

from typing import NamedTuple

from schemas.rule_document import Detection


class Needs(NamedTuple):
    """`required` fields, others it `takes`, and whether it needs one of above and below."""

    required: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    bound: bool = False


WINDOWS = ("window", "hop", "gap")
ABSENCE = ("on_no_data", "forget")
NEEDS: dict[Detection, Needs] = {
    Detection.ANY: Needs(),
    Detection.FREQUENCY: Needs(("count", "within"), WINDOWS),
    Detection.FLATLINE: Needs(("count", "within"), ("forget",)),
    Detection.SPIKE: Needs(("times", "within"), ("count", "direction")),
    Detection.CARDINALITY: Needs(("field", "within"), (*WINDOWS, *ABSENCE), bound=True),
    Detection.METRIC: Needs(("within",), ("field", "aggregate", *WINDOWS, *ABSENCE), bound=True),
    Detection.PERCENTAGE_MATCH: Needs(("match", "within"), ("count", *WINDOWS, *ABSENCE), bound=True),
    Detection.CHANGE: Needs(("field",), ("within",)),
    Detection.NEW_TERM: Needs(("field", "within"), ("learn",)),
    Detection.BLACKLIST: Needs(("field", "values")),
    Detection.WHITELIST: Needs(("field", "values")),
    Detection.SEQUENCE: Needs(("steps", "within"), ("unless",)),
    Detection.JOIN: Needs(("steps", "within")),
    Detection.EXPRESSION: Needs(("counts", "expression", "within"), WINDOWS),
}
MEANINGS = {
    "count": "how many matches",
    "within": "in which time, such as 5m",
    "field": "the field whose value counts",
    "values": "a list of values of the field",
    "match": "the condition whose share counts",
    "steps": "a list of conditions",
    "times": "how many times as many",
    "counts": "names and conditions whose matches are counted",
    "expression": "a condition on the counts",
}
"""What is said of a required field that is missing."""
OWN = tuple(dict.fromkeys(
    name for needs in NEEDS.values() for name in (*needs.required, *needs.takes, *(("above", "below") * needs.bound))
))  # fmt: skip
"""Every field that not all types have."""


def takes(type_: Detection) -> frozenset[str]:
    needs = NEEDS[type_]
    return frozenset((*needs.required, *needs.takes, *(("above", "below") if needs.bound else ())))


def of_field(name: str) -> str:
    """The types a field belongs to, as text."""
    return " or ".join(type_.value for type_ in NEEDS if name in takes(type_))
