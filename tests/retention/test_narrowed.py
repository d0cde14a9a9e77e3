"""A condition narrowed to a day says of the day's documents what it said before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.sinks.index.embedded.days import narrowed
from streams.sinks.index.fields import Fields
from streams.sinks.index.language import And, During, Is, Node, Not, Or
from streams.sinks.index.language_match import Matcher

LEAVES: st.SearchStrategy[Node] = st.builds(During, st.integers(0, 20), st.integers(0, 20)) | st.builds(
    Is, st.just("namespace"), st.sampled_from([("a",), ("b",)])
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=8,
)


@given(TREES, st.integers(0, 10), st.integers(1, 10), st.data(), st.sampled_from(["a", "b", "c"]))
def test_it_says_the_same_of_every_time_in_it(
    tree: Node, first: int, length: int, data: st.DataObject, namespace: str
) -> None:
    at = data.draw(st.integers(first, first + length - 1))
    drawn = Fields(namespace=(namespace,))
    left = narrowed(tree, first, first + length)
    held = left if isinstance(left, bool) else Matcher(left)(drawn, at)
    assert held == Matcher(tree)(drawn, at)
