"""How values are written: Go's `%v` and its other verbs, as far as templates use them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from streams.gotemplates.errors import TemplateError
from streams.gotemplates.gotime import Duration, Time
from streams.gotemplates.values import Pair

MAX_WIDTH = 1000
_VERB = re.compile(r"%([-+# 0]*)(\d*)(?:\.(\d*))?(.)?", re.DOTALL)
_SHORT = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def shown(value: object) -> str:
    """`%v`. Raises TemplateError for what has no form here."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<nil>"
    if isinstance(value, int | Time | Duration):
        return str(value)
    if isinstance(value, float):
        return floating(value)
    if isinstance(value, Pair):
        return f"{{{value.name} {value.value}}}"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{shown(value[name])}" for name in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(shown, value)) + "]"
    raise TemplateError(f"a whole {type(value).__name__} cannot be written: name a field of it")


def floating(value: float, verb: str = "g", precision: int = -1) -> str:
    """As strconv writes it; without precision the shortest form, with an exponent from 1e6 on."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
    if verb in "feE" and precision < 0:
        precision = 6
    if precision >= 0:
        return re.sub(r"e([+-])(\d)$", r"e\g<1>0\2", format(value, f".{precision}{verb}"))
    if not value:
        return "-0" if str(value).startswith("-") else "0"
    if 1e-4 <= abs(value) < 1e6:
        return repr(value).removesuffix(".0") if "e" not in repr(value) else format(Decimal(repr(value)), "f")
    digits, power = _scientific(repr(value))
    return f"{digits}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _scientific(text: str) -> tuple[str, int]:
    """Mantissa and exponent of a shortest form."""
    mantissa, _, exponent = text.partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, part = mantissa.lstrip("-").partition(".")
    digits = whole + ("" if part == "0" else part)
    stripped = digits.lstrip("0")
    power = int(exponent or 0) + len(whole) - 1 - (len(digits) - len(stripped))
    stripped = stripped.rstrip("0") or "0"
    return sign + stripped[0] + (f".{stripped[1:]}" if len(stripped) > 1 else ""), power


def quoted(text: str) -> str:
    """Go's `%q`."""
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char in _SHORT:
            out.append(_SHORT[char])
        elif char.isprintable():
            out.append(char)
        else:
            code = ord(char)
            out.append(f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


def printf(layout: str, arguments: Sequence[object]) -> str:
    """Raises TemplateError for verbs that are not supported and for arguments that do not fit: Go would write
    `%!d(string=x)` into the message."""
    left = list(arguments)

    def one(found: re.Match[str]) -> str:
        flags, width, precision, verb = found.groups()
        if verb == "%":
            return "%"
        if verb is None or verb not in "vsdqfgeExXtc":
            raise TemplateError(f"printf: the verb %{verb or ''} is not supported")
        if not left:
            raise TemplateError(f"printf: an argument for %{verb} is missing")
        if max(int(width or 0), int(precision or 0)) > MAX_WIDTH:
            raise TemplateError(f"printf: wider than {MAX_WIDTH}")
        text = _verb(verb, left.pop(0), flags, precision)
        return _padded(text, int(width or 0), flags)

    text = _VERB.sub(one, layout)
    if left:
        raise TemplateError("printf: more arguments than verbs")
    return text


def _verb(verb: str, value: object, flags: str, precision: str | None) -> str:
    digits = int(precision or 0) if precision is not None else -1
    number = isinstance(value, int) and not isinstance(value, bool)
    if verb in "vs" and not (verb == "s" and (number or isinstance(value, bool | float))):
        text = floating(value, "g", digits) if isinstance(value, float) else shown(value)
        return text[:digits] if verb == "s" and digits >= 0 else _signed(text, value, flags)
    if verb in "dxXc" and isinstance(value, int) and number:
        text = chr(value) if verb == "c" and 0 <= value < 0x110000 else format(value, verb if verb != "c" else "d")
        return _signed(text, value, flags)
    if verb in "xX" and isinstance(value, str):
        return format(int.from_bytes(value.encode()), f"0{2 * len(value.encode())}{verb}") if value else ""
    if verb in "fgeE" and isinstance(value, float):
        return _signed(floating(value, verb, digits), value, flags)
    if verb == "q" and isinstance(value, str):
        return quoted(value)
    if verb == "q" and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "[" + " ".join(map(quoted, value)) + "]"
    if verb == "t" and isinstance(value, bool):
        return shown(value)
    raise TemplateError(f"printf: %{verb} does not take {kind_of(value)}")


def _signed(text: str, value: object, flags: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and not text.startswith(("-", "+")):
        return "+" + text if "+" in flags else " " + text if " " in flags else text
    return text


def _padded(text: str, width: int, flags: str) -> str:
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags:
        sign = text[:1] if text[:1] in ("-", "+") else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)


def kind_of(value: object) -> str:
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", dict: "a map", list: "a list"}
    for kind, name in names.items():
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return name
    return "nothing" if value is None else type(value).__name__
