"""Protobuf's text format, in which Caffe's networks are described, as a generic tree; read and printed.

A message is a dictionary from field names to the list of all values that the field was given, in order.
A value is a message, a text, a number, or a `Word`: an enumeration's or a truth's name, which has no quotes.
Format: protobuf.dev/reference/protobuf/textformat-spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Message = dict[str, list[Any]]  # of Message, str, Word, int and float

MAX_TOKENS = 200_000  # twice those of ResNet-1001
MAX_DEPTH = 20

# Possessive throughout: nothing is tried twice, whatever the text.
_SPACE = re.compile(r"(?:[ \t\r\n\f\v]++|\#[^\n]*+)*+")
_TOKEN = re.compile(
    r"""(?P<word>[A-Za-z_][A-Za-z0-9_]*+)
    |(?P<number>-?[ ]*+(?:0x[0-9a-f]++|(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[+-]?[0-9]++)?f?)(?![\w.]))
    |(?P<negative>-[ ]*+(?:infinity|inf|nan)\b)
    |(?P<string>"(?:[^"\\\n]++|\\.)*+"|'(?:[^'\\\n]++|\\.)*+')
    |(?P<mark>[{}<>\[\]:;,])
    |(?P<end>\Z)""",
    re.VERBOSE | re.IGNORECASE,
)
_ESCAPE = re.compile(r"\\(?:[xX]([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_CLOSING = {"{": "}", "<": ">"}


class Word(str):
    """A name without quotes: MAX, true, TRAIN."""

    __slots__ = ()


def parse(text: str) -> Message:
    """The tree of a text. Raises ValueError, with the line, for what is no message or is too large or too deep."""
    return _Parser(text).message("", 0)


def printed(message: Mapping[str, Sequence[Any]], indent: str = "") -> Iterator[str]:
    """The lines of a message's text, with their line ends."""
    for name, values in message.items():
        for value in values:
            if isinstance(value, Mapping):
                yield f"{indent}{name} {{\n"
                yield from printed(value, indent + "  ")
                yield f"{indent}}}\n"
            else:
                yield f"{indent}{name}: {_scalar(value)}\n"


class _Parser:
    """One pass over the tokens; `kind` and `token` are the one that is looked at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.start = self.position = self.count = 0
        self.kind = self.token = ""
        self.advance()

    def advance(self) -> str:
        """Go on to the next token; the one that is left."""
        left = self.token
        space = _SPACE.match(self.text, self.position)
        assert space  # it matches even nothing
        self.start = space.end()
        match = _TOKEN.match(self.text, self.start)
        if match is None:
            raise self.wrong("something stands there that is no name, number, text or bracket")
        self.count += 1
        if self.count > MAX_TOKENS:
            raise ValueError(f"it has more than {MAX_TOKENS:,} words, which no network's description has")
        self.kind = str(match.lastgroup)
        self.token = match[self.kind]
        self.position = match.end()
        return left

    def wrong(self, why: str) -> ValueError:
        return ValueError(f"in line {self.text.count(chr(10), 0, self.start) + 1} {why}")

    def take(self, marks: str) -> bool:
        """Step over one of these marks, if it is there."""
        if self.kind == "mark" and self.token in marks:
            self.advance()
            return True
        return False

    def message(self, closing: str, depth: int) -> Message:
        """The fields up to (and over) a closing mark, or up to the end of the text."""
        if depth > MAX_DEPTH:
            raise self.wrong(f"messages are nested more than {MAX_DEPTH} deep")
        fields: Message = {}
        while not (self.kind == "end" and not closing):
            if closing and self.take(closing):
                return fields
            if self.kind != "word":
                raise self.wrong("there should be the name of a field" + (f" or {closing}" if closing else ""))
            values = fields.setdefault(self.advance(), [])
            colon = self.take(":")
            if self.take("["):
                if not self.take("]"):
                    values.append(self.value(depth, colon))
                    while self.take(","):
                        values.append(self.value(depth, colon))
                    if not self.take("]"):
                        raise self.wrong("a list is not closed")
            else:
                values.append(self.value(depth, colon))
            self.take(",;")
        return fields

    def value(self, depth: int, colon: bool) -> Any:
        if self.kind == "mark" and self.token in _CLOSING:
            return self.message(_CLOSING[self.advance()], depth + 1)
        if not colon:
            raise self.wrong("a field's name should be followed by a colon or a message")
        match self.kind:
            case "word":
                return Word(self.advance())
            case "number":
                return _number(self.advance())
            case "negative":
                return float(self.advance().replace(" ", ""))
            case "string":
                parts = []
                while self.kind == "string":  # neighbours are one text
                    parts.append(_ESCAPE.sub(_unescaped, self.advance()[1:-1]))
                return "".join(parts)
        raise self.wrong("a value is missing")


def _number(token: str) -> int | float:
    token = token.replace(" ", "").lower()
    sign = -1 if token.startswith("-") else 1
    digits = token.lstrip("-")
    if len(digits) > 400:
        raise ValueError("a number has more than 400 digits")
    if digits.startswith("0x"):
        return sign * int(digits, 16)
    if digits.isdecimal():
        octal = len(digits) > 1 and digits.startswith("0")
        return sign * int(digits, 8 if octal else 10)
    return sign * float(digits.rstrip("f"))


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    if match[2]:
        return chr(int(match[2], 8))
    return _ESCAPES.get(match[3], match[3])


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Word) or not isinstance(value, str):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
