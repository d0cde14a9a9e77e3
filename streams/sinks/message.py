"""A letter as the Markdown of a chat message: our own form, or a receiver's template; when that fails, the former with
a note that says so."""

from __future__ import annotations

import re
from functools import cache

import jinja2
import msgspec
import structlog

from streams.sinks.letter import Letter
from streams.sinks.own_templates import NotRendered, Renderer
from streams.sinks.words import words

log = structlog.get_logger(__name__)

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+|<>~])")
_BLANK = re.compile(r"\n{3,}")


async def message(about: Letter, template: str, renderer: Renderer) -> str:
    if template:
        try:
            return await renderer.render(template, msgspec.to_builtins(about))
        except NotRendered as error:
            log.warning("template.not_rendered", receiver=about.receiver, reason=str(error)[:300])
            said = f"{words(about.language)('The usual form of this message could not be rendered')}: {error}"
            about = msgspec.structs.replace(about, notes=[*about.notes, said[:400]])
    return markdown(about)


def markdown(about: Letter) -> str:
    text = _templates().get_template("chat.md").render(letter=about, t=words(about.language))
    return _BLANK.sub("\n\n", text).strip()


def escaped(text: str) -> str:
    """What comes from outside makes no links, headings or mentions."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("@", "@\u200b")


@cache
def _templates() -> jinja2.Environment:
    found = jinja2.Environment(  # noqa: S701 - Markdown: `md` escapes
        loader=jinja2.PackageLoader("streams", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["md"] = escaped
    return found
