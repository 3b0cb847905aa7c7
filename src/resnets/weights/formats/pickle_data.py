"""Reads a pickle as data: what it would build is described, and nothing of it is looked up, called or built.

A pickle is a program for a small stack machine; unpickling runs it, with any function of any module. Here a global
is its name, and a call is a record of what would be called with what. Known are the opcodes that Python writes in
its protocols 1 to 5. Format: the module pickletools of the standard library, whose names for opcodes are used here.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass

MAX_OPCODES = 500_000  # a second's work; ResNet-152 with Adam's state has 73,000, ResNet-1202 with momentum 353,000
MAX_LINE = 500  # bytes, of a global's name

_DAMAGED = "its pickle is damaged or cut off; copy it again"

Value = object  # None, a number, str, bytes, tuple, list, Name, Made, or what `persistent` returns


@dataclass(eq=False, slots=True)
class Name:
    """A global by its full name ("collections.OrderedDict"), which is never imported."""

    text: str


@dataclass(eq=False, repr=False, slots=True)
class Made:
    """A call that was not made: of what, with which arguments, and what would have been done with its result.

    state   what the object would have been given to restore itself (None if nothing)
    pairs   (key, value) that would have been set, in the file's order. Dictionaries are pairs too: no key is hashed
            here, because a file could choose keys that collide.
    """

    call: Value
    args: Value = ()
    state: Value = None
    pairs: list[tuple[Value, Value]] | tuple[()] = ()

    def get(self, key: str) -> Value:
        """The value of a key among the first hundred, or None."""
        return next((value for name, value in self.pairs[:100] if isinstance(name, str) and name == key), None)


def load(data: bytes, at: int, persistent: Callable[[Value], Value]) -> tuple[Value, int]:
    """(the value that the pickle at a position describes, the position behind it).

    persistent: gives the value for a persistent id, by which a pickle refers to what lies outside of it.
    Raises ValueError for what is no pickle, is cut off, is too large, or uses opcodes that no model file needs.
    """
    machine = _Machine(data, at, persistent)
    try:
        for _ in range(MAX_OPCODES):
            opcode = data[machine.at]
            machine.at += 1
            if opcode == _STOP:
                return machine.stack.pop(), machine.at
            if opcode not in _STEPS:
                raise ValueError(f"its pickle is damaged, or does what no model file needs (opcode {opcode:#x})")
            _STEPS[opcode](machine)
    except (IndexError, KeyError, UnicodeDecodeError, struct.error) as problem:
        raise ValueError(_DAMAGED) from problem
    raise ValueError(f"its pickle has more than {MAX_OPCODES:,} steps, which no network's has")


class _Machine:
    """The stack machine of a pickle. A mark sets the stack aside and starts a new one."""

    def __init__(self, data: bytes, at: int, persistent: Callable[[Value], Value]) -> None:
        self.data = data
        self.at = at
        self.persistent = persistent
        self.stack: list[Value] = []
        self.marks: list[list[Value]] = []
        self.memo: dict[int, Value] = {}
        self.names: dict[str, Name] = {}

    # What follows an opcode.

    def number(self, layout: struct.Struct) -> int:
        (value,) = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return value  # type: ignore[no-any-return]

    def sized(self, layout: struct.Struct) -> bytes:
        start = self.at + layout.size
        self.at = start + self.number(layout)  # if it lies outside, there is no next opcode
        return self.data[start : self.at]

    def line(self) -> str:
        start, end = self.at, self.data.find(b"\n", self.at, self.at + MAX_LINE)
        if end < 0:
            raise IndexError
        self.at = end + 1
        return str(self.data[start:end], "utf-8")

    # What is done with the stack.

    def push(self, value: Value) -> None:
        self.stack.append(value)

    def pop(self) -> Value:
        return self.stack.pop()

    def pop_two(self) -> tuple[Value, Value]:
        second = self.stack.pop()
        return self.stack.pop(), second

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Value]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def push_tuple(self, length: int) -> None:
        if len(self.stack) < length:
            raise IndexError
        self.stack[-length:] = [tuple(self.stack[-length:])]

    def call(self, _keywords: Value = None) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        self.stack.append(Made(function, args))

    def push_global(self, module: Value, name: Value) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError(_DAMAGED)
        text = f"{module}.{name}"
        self.stack.append(self.names.get(text) or self.names.setdefault(text, Name(text)))

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def append(self, items: list[Value]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Made):  # the items of sets and of objects that act as lists are not needed
            raise ValueError(_DAMAGED)

    def set_pairs(self, items: list[Value]) -> None:
        target = self.stack[-1]
        if not isinstance(target, Made) or len(items) % 2:
            raise ValueError(_DAMAGED)
        target.pairs = target.pairs or []
        target.pairs.extend(zip(items[::2], items[1::2], strict=True))

    def set_state(self, state: Value) -> None:
        target = self.stack[-1]
        if isinstance(target, Made):
            target.state = state


_1, _2, _4, _8 = (struct.Struct(layout) for layout in ("<B", "<H", "<I", "<Q"))
_DICT, _SET = Name("builtins.dict"), Name("builtins.set")
_INTEGER, _FLOAT = struct.Struct("<i"), struct.Struct(">d")

_BY_NAME: dict[str, Callable[[_Machine], object]] = {
    "PROTO": lambda m: m.number(_1),
    "FRAME": lambda m: m.number(_8),
    "NONE": lambda m: m.push(None),
    "NEWTRUE": lambda m: m.push(True),
    "NEWFALSE": lambda m: m.push(False),
    "INT": lambda m: m.push({"00": False, "01": True}[m.line()]),  # protocol 1 has truth values so
    "LONG": lambda m: m.push(int(m.line().removesuffix("L"))),
    "BININT": lambda m: m.push(m.number(_INTEGER)),
    "BININT1": lambda m: m.push(m.number(_1)),
    "BININT2": lambda m: m.push(m.number(_2)),
    "LONG1": lambda m: m.push(int.from_bytes(m.sized(_1), "little", signed=True)),
    "BINFLOAT": lambda m: m.push(m.number(_FLOAT)),
    "BINSTRING": lambda m: m.push(str(m.sized(_4), "latin-1")),
    "SHORT_BINSTRING": lambda m: m.push(str(m.sized(_1), "latin-1")),
    "BINUNICODE": lambda m: m.push(str(m.sized(_4), "utf-8", "surrogatepass")),
    "SHORT_BINUNICODE": lambda m: m.push(str(m.sized(_1), "utf-8", "surrogatepass")),
    "BINUNICODE8": lambda m: m.push(str(m.sized(_8), "utf-8", "surrogatepass")),
    "BINBYTES": lambda m: m.push(m.sized(_4)),
    "SHORT_BINBYTES": lambda m: m.push(m.sized(_1)),
    "BINBYTES8": lambda m: m.push(m.sized(_8)),
    "BYTEARRAY8": lambda m: m.push(m.sized(_8)),
    "MARK": lambda m: m.mark(),
    "POP": lambda m: m.pop() if m.stack else m.since_mark(),
    "POP_MARK": lambda m: m.since_mark(),
    "EMPTY_TUPLE": lambda m: m.push(()),
    "TUPLE": lambda m: m.push(tuple(m.since_mark())),
    "TUPLE1": lambda m: m.push_tuple(1),
    "TUPLE2": lambda m: m.push_tuple(2),
    "TUPLE3": lambda m: m.push_tuple(3),
    "EMPTY_LIST": lambda m: m.push([]),
    "APPEND": lambda m: m.append([m.pop()]),
    "APPENDS": lambda m: m.append(m.since_mark()),
    "EMPTY_DICT": lambda m: m.push(Made(_DICT)),
    "SETITEM": lambda m: m.set_pairs([*m.pop_two()]),
    "SETITEMS": lambda m: m.set_pairs(m.since_mark()),
    "EMPTY_SET": lambda m: m.push(Made(_SET)),
    "ADDITEMS": lambda m: m.append(m.since_mark()),
    "FROZENSET": lambda m: m.push(Made(_SET, (m.since_mark(),))),
    "BINPUT": lambda m: m.remember(m.number(_1)),
    "LONG_BINPUT": lambda m: m.remember(m.number(_4)),
    "MEMOIZE": lambda m: m.remember(len(m.memo)),
    "BINGET": lambda m: m.push(m.memo[m.number(_1)]),
    "LONG_BINGET": lambda m: m.push(m.memo[m.number(_4)]),
    "GLOBAL": lambda m: m.push_global(m.line(), m.line()),
    "STACK_GLOBAL": lambda m: m.push_global(*m.pop_two()),
    "REDUCE": lambda m: m.call(),
    "NEWOBJ": lambda m: m.call(),
    "NEWOBJ_EX": lambda m: m.call(m.pop()),
    "OBJ": lambda m: m.push(Made(Name("instance"), tuple(m.since_mark()))),
    "BUILD": lambda m: m.set_state(m.pop()),
    "BINPERSID": lambda m: m.push(m.persistent(m.pop())),
}
_STEPS = {ord(opcode.code): _BY_NAME[opcode.name] for opcode in pickletools.opcodes if opcode.name in _BY_NAME}
_STOP = ord(".")
