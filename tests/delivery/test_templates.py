"""People's own templates: sandboxed, and bounded in output, time, memory and operators."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from streams.sinks.own_templates import NotRendered, Renderer


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    made = Renderer()
    yield made
    await made.close()


async def test_a_template_renders(renderer: Renderer) -> None:
    data = {"title": "支付 <b>", "alerts": [{"name": "a"}, {"name": "b"}]}
    text = "{{ title }}: {% for alert in alerts %}{{ alert.name }}{{ ', ' if not loop.last }}{% endfor %}"
    assert await renderer.render(text, data) == "支付 <b>: a, b"
    assert await renderer.render("{{ title }}", data, html=True) == "支付 &lt;b&gt;"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ alerts.append(1) }}", "unsafe"),
        ("{{ missing }}", "undefined"),
        ("{% for x in %}", "line 1"),
        ("{{ 'a' * 10**9 }}", "** is not allowed"),
        ("{{ 'a' * 1000000000 }}", "too long"),
        ("{{ '%1000000000d' % 1 }}", "not allowed"),
        ("{{ '{:>1000000000}'.format(1) }}", "memory"),
        ("{{ 'a'.center(1000000000) }}", "memory"),
        ("{% for x in range(100000) %}{% for y in range(10) %}1234567890{% endfor %}{% endfor %}", "more than 400000"),
        ("{{ range(1000000000) }}", "Range too big"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "without end"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% import 'os' as os %}", "no loader"),
        ("{{ lipsum(n=1000) }}", "undefined"),
    ],
)
async def test_what_it_may_not(renderer: Renderer, template: str, why: str) -> None:
    with pytest.raises(NotRendered) as error:
        await renderer.render(template, {"alerts": []})
    assert why in str(error.value)
    assert await renderer.render("ok", {}) == "ok"


async def test_an_endless_one_is_ended_and_holds_nobody_up(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    await renderer.render("warm", {})
    monkeypatch.setattr("streams.sinks.own_templates.TIMEOUT_S", 0.5)
    loops = (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% if b > 99999 %}x{% endif %}{% endfor %}{% endfor %}"
    )
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    began = time.monotonic()
    with pytest.raises(NotRendered, match="longer than"):
        await renderer.render(loops, {})
    took = time.monotonic() - began
    ticking.cancel()
    assert took >= 0.5
    assert ticks >= 5
    monkeypatch.undo()
    assert await renderer.render("ok", {}) == "ok"


async def test_too_much_is_refused_before_it_is_sent(renderer: Renderer) -> None:
    with pytest.raises(NotRendered, match="longer than"):
        await renderer.render("x" * 100_000, {})
    with pytest.raises(NotRendered, match="more to show"):
        await renderer.render("x", {"x": "x" * (9 << 20)})


async def test_its_process_knows_no_secrets(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTSPHERE_KAFKA__PASSWORD", "s3cret")
    await renderer.render("x", {})
    child = renderer._child
    assert child is not None
    with open(f"/proc/{child.pid}/environ", "rb") as file:  # noqa: ASYNC230, PTH123
        assert b"s3cret" not in file.read()
