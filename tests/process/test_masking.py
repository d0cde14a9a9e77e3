"""What patterns find, and that it is gone wherever it stands in a record."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.process_document import Mask, Preset
from streams.process.masking import Masking
from streams.process.patterns import PRESETS, RAW, detecting, finder, luhn, replaced
from streams.process.rewriting import Editing
from tests.process.documents import batch, left, processor, value

FOUND = [
    (Preset.MAIL, "to jane.doe+x@mail.example.com.", "to *."),
    (Preset.MAIL, "<jürgen@müller.de>, a@b.co", "<*>, *"),
    (Preset.MAIL, "no@mail, @handle, user@host:22", "no@mail, @handle, user@host:22"),
    (Preset.CARD, "card 4111111111111111 ok", "card * ok"),
    (Preset.CARD, "4111 1111 1111 1111 123", "* 123"),
    (Preset.CARD, "4111 1111 1111 1111 1111", "* 1111"),
    (Preset.CARD, "4111-1111-1111-1111,3782 822463 10005", "*,*"),
    (Preset.CARD, "4111111111111112", "4111111111111112"),
    (Preset.CARD, "24111111111111111", "24111111111111111"),
    (Preset.CARD, "41111111111111111111111", "41111111111111111111111"),
    (Preset.CARD, "4111111111111111,5555555555554444", "*,*"),
    (Preset.TOKEN, "Authorization: Bearer abc.def-ghi", "Authorization: Bearer *"),
    (Preset.TOKEN, "GET /?token=s3cr3t&x=1", "GET /?token=*&x=1"),
    (Preset.TOKEN, "password='hunter2' user=x", "password='*' user=x"),
    (Preset.TOKEN, '{"api_key": "abcdef", "n": 1}', '{"api_key": "*", "n": 1}'),
    (Preset.TOKEN, r'msg="{\"password\":\"abcdef\"}"', r'msg="{\"password\":\"*\"}"'),
    (Preset.TOKEN, "jwt eyJhbGciOi.eyJzdWIiOi.SflKxw_RJ", "jwt *"),
    (Preset.TOKEN, "key AKIAIOSFODNN7EXAMPLE", "key *"),
    (Preset.TOKEN, "ghp_" + "a" * 36, "*"),
    (Preset.TOKEN, "postgres://app:pw@db/x", "postgres://app:*@db/x"),
    (Preset.TOKEN, "invalid token: unexpected end", "invalid token: unexpected end"),
    (Preset.TOKEN, "token=Bearer abcdefghij", "token=* *"),
]


@pytest.mark.parametrize(("preset", "text", "expected"), FOUND, ids=[text[:24] for _, text, _ in FOUND])
def test_presets(preset: Preset, text: str, expected: str) -> None:
    data = text.encode()
    assert replaced(data, PRESETS[preset](data), b"*").decode() == expected


@pytest.mark.parametrize(("preset", "text", "expected"), FOUND, ids=[text[:24] for _, text, _ in FOUND])
def test_what_a_preset_finds_its_raw_pattern_does_not_overlook(preset: Preset, text: str, expected: str) -> None:
    if text != expected:
        assert detecting(RAW[preset])(msgspec.json.encode(text))


@pytest.mark.parametrize(("number", "right"), [("4539578763621486", True), ("4539578763621487", False), ("0", True)])
def test_luhn(number: str, right: bool) -> None:
    assert luhn([int(digit) for digit in number]) is right


def test_only_groups_of_a_pattern_are_replaced_where_it_has_any() -> None:
    data = "iban=DE12 iban=FR34 ü".encode()
    assert replaced(data, finder(r"iban=(\w+)")(data), b"*").decode() == "iban=* iban=* ü"
    assert replaced(data, finder(r"iban=\w+")(data), b"*").decode() == "* * ü"


def test_a_pattern_that_matches_nearly_everywhere_ends_soon() -> None:
    assert finder(r"\B")(b"abc" * 5000) == [(10_000, 15_000)]
    assert len(finder("a")(b"a" * 20_000)) == 10_001


def masked(record: dict[str, Any], mask: Mask) -> dict[str, Any]:
    editing = Editing(msgspec.json.encode(record))
    Masking(mask)(editing)
    found: dict[str, Any] = msgspec.json.decode(editing.value())
    return found


def test_every_text_of_a_record_is_masked_but_where_it_is_from() -> None:
    record = {
        "log": "a@b.de",
        "deep": [{"x": ["c@d.de"], "card": 4111111111111111, "password": "pw", "n": 1.5}],
        "mail a@b.de": 1,
        "number": 5555555555554444,
        "session_token": "short",
        "@timestamp": 4111111111111111,
        "kubernetes": {"annotations": {"owner": "a@b.de"}},
        "cluster": "c",
    }
    found = masked(record, Mask(presets=tuple(Preset)))
    assert found == {
        "log": "***",
        "deep": [{"x": ["***"], "card": "***", "password": "***", "n": 1.5}],
        "mail ***": 1,
        "number": "***",
        "session_token": "***",
        "@timestamp": 4111111111111111,
        "kubernetes": {"annotations": {"owner": "a@b.de"}},
        "cluster": "c",
    }


def test_named_fields_alone_are_masked() -> None:
    record = {"log": "a@b.de", "user": "a@b.de", "kubernetes": {"x": "a@b.de"}}
    found = masked(record, Mask(presets=(Preset.MAIL,), fields=("user", "kubernetes", "none")))
    assert found == {"log": "a@b.de", "user": "***", "kubernetes": {"x": "***"}}


def test_names_that_become_alike_stay_apart() -> None:
    record = {"a@b.de": 1, "c@d.de": 2, "***": 3, "in": {"a@b.de": 1, "c@d.de": 2}}
    found = masked(record, Mask(presets=(Preset.MAIL,)))
    assert sorted(found.values(), key=str) == [1, 2, 3, {"***": 1, "***_2": 2}]


def test_what_is_not_masked_keeps_its_bytes() -> None:
    raw = b'{"log" : "a@b.de","n":1.50,"big":123456789012345678901234567890,"e":1E5,"kubernetes":{ "x" :1}}'
    editing = Editing(raw)
    assert Masking(Mask(presets=(Preset.MAIL,)))(editing)
    assert editing.value() == (
        b'{"log":"***","n":1.50,"big":123456789012345678901234567890,"e":1E5,"kubernetes":{ "x" :1}}'
    )


def test_the_replacement_is_taken_as_it_is() -> None:
    found = masked({"log": "a@b.de"}, Mask(presets=(Preset.MAIL,), replacement='"\\1\n'))
    assert found == {"log": '"\\1\n'}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"log":"jane\\u0040x.de"}',
        b'{"log":"{\\"m\\":\\"jane@x.de\\"}"}',
        b'{"log":"jane@x.de\xff"}',
        b'{"specversion":"1.0","data":{"log":"jane@x.de"}}',
        b'{"log":"jane@x.de","log":"jane@x.de"}',
        b' {"message":["jane@x.de"]} ',
    ],
)
def test_no_way_of_writing_it_gets_around(raw: bytes) -> None:
    done = processor("documents: [{name: a, steps: [{mask: {patterns: [mail]}}]}]").run(batch(raw))
    assert not done.bad
    assert done.batch is not None
    text = done.batch.messages[0].value() or b""
    assert b"***" in text
    assert b"jane" not in text


@pytest.mark.parametrize("depth", [50, 400, 900, 5000])
def test_however_deep_it_is_it_does_not_get_through(depth: int) -> None:
    raw = b'{"x":' + b'{"y":[' * depth + b'"jane@x.de"' + b"]}" * depth + b"}"
    done = processor("documents: [{name: a, steps: [{mask: {patterns: [mail]}}]}]").run(batch(raw))
    if not done.bad:
        assert done.batch is not None
        assert b"jane" not in (done.batch.messages[0].value() or b"")
    assert done.bad or depth < 900


def test_what_parsing_brings_to_light_is_masked_too() -> None:
    text = """
documents:
  - {name: a, steps: [{mask: {patterns: [mail]}}]}
  - {name: b, steps: [{parse: {as: json}}]}
"""
    done = processor(text).run(batch(value('{"user":"jane\\u0040x.de"}')))
    assert left(done.batch)[0]["parsed"] == {"user": "***"}


MAILS = processor("documents: [{name: a, steps: [{mask: {patterns: [mail]}}]}]")
ADDRESSES = st.from_regex(r"[a-z][a-z0-9._]{0,8}@[a-z]{1,8}\.[a-z]{2,4}", fullmatch=True)


@settings(deadline=None)
@given(st.text(), ADDRESSES, st.text(), st.booleans())
def test_an_address_is_found_in_any_text(before: str, address: str, after: str, ascii_only: bool) -> None:
    raw = json.dumps({"log": f"{before} {address} {after}"}, ensure_ascii=ascii_only).encode("utf-8", "replace")
    done = MAILS.run(batch(raw))
    assert done.batch is not None or done.bad
    if done.batch is not None and not done.bad:
        assert address not in str(left(done.batch)[0]["log"])
