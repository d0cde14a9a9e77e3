"""Where a rendering goes: plain text, or HTML in which values are escaped by where they stand."""

from __future__ import annotations

import re
from urllib.parse import quote

from streams.gotemplates.errors import TemplateError
from streams.gotemplates.printing import shown
from streams.gotemplates.values import SafeHtml

MAX_OUTPUT = 1 << 20
"""Characters of one rendering."""
_SCHEMES = ("http", "https", "mailto")
_LINKS = frozenset({"href", "src", "action", "formaction", "cite", "background", "poster", "data", "icon", "longdesc"})
_RAW = frozenset({"script", "style", "textarea", "title"})
_KEPT = "!#$%&'*()+,-./:;=?@_~[]"
_TABLE = str.maketrans(
    {"<": "&lt;", ">": "&gt;", "&": "&amp;", "'": "&#39;", '"': "&#34;", "+": "&#43;", "\0": "\ufffd"}
)
_NORM = str.maketrans({"<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;", "+": "&#43;", "\0": "\ufffd"})
_NAME = re.compile(r"[^\s>/=]+")


_OPENS = re.compile(r"<!--|</?[a-zA-Z]|<(?!!doctype)", re.IGNORECASE)
_CODE = re.compile(r"%[0-9A-F]{2}")


def _encoded(text: str, safe: str) -> str:
    return _CODE.sub(lambda code: code.group().lower(), quote(text, safe=safe))


class Plain:
    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0

    def __str__(self) -> str:
        return "".join(self._parts)

    def put(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_OUTPUT:
            raise TemplateError(f"gives more than {MAX_OUTPUT >> 10} Ki characters")
        self._parts.append(text)

    def text(self, text: str) -> None:
        self.put(text)

    def value(self, value: object, function: str) -> None:
        self.put("<no value>" if value is None else shown(value))


class Html(Plain):
    """Follows the HTML of the template itself. Where a value cannot be made safe simply (in scripts, styles, names,
    values without quotes) it is refused. Source of the rules: pkg.go.dev/html/template; its comments go, too."""

    def __init__(self) -> None:
        super().__init__()
        self._where = "text"
        self._tag = ""
        self._attribute = ""
        self._quote = ""
        self._link = ""
        """What stands before in a link that is being written."""

    def text(self, text: str) -> None:
        place = 0
        while place < len(text):
            place = getattr(self, f"_in_{self._where}")(text, place)

    def value(self, value: object, function: str) -> None:
        text = "" if value is None else shown(value)
        if self._where == "text":
            self.put(text if isinstance(value, SafeHtml) or function == "html" else text.translate(_TABLE))
        elif self._where == "raw" and self._tag in ("textarea", "title"):
            self.put(text.translate(_TABLE))
        elif self._where == "quoted" and self._attribute in _LINKS:
            self.put(self._in_link(text, function).translate(_TABLE))
        elif self._where == "quoted" and self._attribute != "style" and not self._attribute.startswith("on"):
            plain = re.sub(r"<[^>]*>", "", text).translate(_NORM) if isinstance(value, SafeHtml) else None
            self.put(text.translate(_TABLE) if plain is None else plain)
        else:
            what = {"quoted": f"in {self._attribute!r}", "raw": f"in <{self._tag}>", "comment": "in a comment"}
            raise TemplateError(f"a value may not stand {what.get(self._where, 'there')} in HTML", final=True)

    def _in_link(self, text: str, function: str) -> str:
        before, self._link = self._link, self._link + (text or " ")
        if function == "urlquery":
            return text
        if "?" in before or "#" in before:
            return _encoded(text, "-._~")
        if not before.strip():
            scheme = text.partition(":")[0] if ":" in text else ""
            if scheme and "/" not in scheme and scheme.lower() not in _SCHEMES:
                text = "#ZgotmplZ"
        return _encoded(text, _KEPT)

    def _in_text(self, text: str, place: int) -> int:
        found = _OPENS.search(text, place)
        if found is None:
            self.put(text[place:])
            return len(text)
        if found.group() in ("<!--", "<"):
            self.put(text[place : found.start()])
            if found.group() == "<":
                self.put("&lt;")  # opens nothing, and what follows shall not make it
            else:
                self._where = "comment"
            return found.end()
        name = _NAME.match(text, found.end() - 1)
        end = name.end() if name else found.end()
        self._tag = text[found.end() - 1 : end].lower() if not found.group().startswith("</") else ""
        self.put(text[place:end])
        self._where = "tag"
        return end

    def _in_comment(self, text: str, place: int) -> int:
        end = text.find("-->", place)
        if end < 0:
            return len(text)
        self._where = "text"
        return end + 3

    def _in_tag(self, text: str, place: int) -> int:
        char = text[place]
        if char == ">":
            self._where = "raw" if self._tag in _RAW else "text"
        elif not char.isspace() and char != "/":
            self._attribute, self._where = "", "name"
            return place
        self.put(char)
        return place + 1

    def _in_name(self, text: str, place: int) -> int:
        found = _NAME.match(text, place)
        if found:
            self._attribute += found.group().lower()
            self.put(found.group())
            return found.end()
        self._where = "after"
        return place

    def _in_after(self, text: str, place: int) -> int:
        char = text[place]
        if char == "=":
            self._where = "before"
        elif not char.isspace():
            self._where = "tag"
            return place
        self.put(char)
        return place + 1

    def _in_before(self, text: str, place: int) -> int:
        char = text[place]
        if char in "\"'":
            self._where, self._quote, self._link = "quoted", char, ""
        elif not char.isspace():
            self._where = "unquoted"
            return place
        self.put(char)
        return place + 1

    def _in_quoted(self, text: str, place: int) -> int:
        end = text.find(self._quote, place)
        part = text[place : end if end >= 0 else len(text)]
        self._link += part
        self.put(part)
        if end < 0:
            return len(text)
        self.put(self._quote)
        self._where = "tag"
        return end + 1

    def _in_unquoted(self, text: str, place: int) -> int:
        char = text[place]
        if char.isspace() or char == ">":
            self._where = "tag"
            return place
        self.put(char)
        return place + 1

    def _in_raw(self, text: str, place: int) -> int:
        found = re.compile(rf"</{re.escape(self._tag)}(?=[\s/>])", re.IGNORECASE).search(text, place)
        end = found.end() if found else len(text)
        part = text[place : found.start() if found else end]
        self.put(part.replace("<", "&lt;") if self._tag in ("title", "textarea") else part)
        if found is None:
            return end
        self.put(found.group())
        self._tag, self._where = "", "tag"
        return found.end()
