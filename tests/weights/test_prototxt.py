"""Protobuf messages, as text and as bytes: read, written, and bounded."""

from __future__ import annotations

import math
import time

import pytest

from resnets.weights.formats.protobuf import field
from resnets.weights.formats.prototxt import MAX_TOKENS, Word, parse, printed
from resnets.weights.worlds.caffe.schema import NET, decoded, encoded


def test_the_text_format_is_read_in_all_its_spellings():
    text = r"""
    a: "x\n\"\101\x42" 'it''s'  # neighbours are one text
    b < c: [1, 2.5e3, -inf, - 3, .5f], >; d: {} e { f: 0x1F }, e { f: 017 f: MAX }
    g: [ { h: true }, { } ] i: []
    """
    assert parse(text) == {
        "a": ['x\n"AB' + "its"],
        "b": [{"c": [1, 2500.0, -math.inf, -3, 0.5]}],
        "d": [{}],
        "e": [{"f": [31]}, {"f": [15, "MAX"]}],
        "g": [{"h": ["true"]}, {}],
        "i": [],
    }
    assert type(parse("f: MAX")["f"][0]) is Word
    assert type(parse("f: 'MAX'")["f"][0]) is str


def test_a_printed_tree_is_read_again():
    tree = {"name": ['a "b" \\ c\n'], "layer": [{"pool": [Word("MAX")], "pad": [1, -2], "eps": [1e-5], "no": [{}]}]}
    assert parse("".join(printed(tree))) == tree


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: $", "in line 2 something"),
        ('a: 1 # comment\n\n\n  b: "open', "in line 4 something"),
        ("a:", "a value is missing"),
        ("a b: 1", "a colon or a message"),
        ("a { b: 1", "the name of a field or }"),
        ("a { b: 1 >", "the name of a field or }"),
        ("}", "the name of a field"),
        ("a: [1 2]", "a list is not closed"),
        ("a: 3abc", "something"),
        ("a: " + "9" * 500, "400 digits"),
        ("a {" * 30, "deep"),
        ("a: 1 " * MAX_TOKENS, "words"),
    ],
)
def test_what_is_no_text_format_is_refused_with_its_line(text, says):
    with pytest.raises(ValueError, match=says):
        parse(text)


@pytest.mark.parametrize(
    "text", ["#" * 10**6 + "\n$", 'a: "' + "\\n" * 10**6, " " * 10**6 + "$", "a:" * 10**6, '"' * 10**6]
)
def test_no_text_takes_long(text):
    start = time.process_time()
    with pytest.raises(ValueError, match=r"line|words"):
        parse(text)
    assert time.process_time() - start < 8  # a burst takes minutes; the two seconds are the fuzz harness's to watch


def test_a_tree_in_bytes_is_read_again():
    tree = {
        "name": ["net"],
        "layer": [
            {
                "name": ["pool1"],
                "bottom": ["a", "b"],
                "phase": [Word("TEST")],
                "pooling_param": [{"pool": [Word("AVE")], "kernel_size": [3], "global_pooling": [True]}],
                "batch_norm_param": [{"eps": [0.5]}],
            }
        ],
    }
    assert decoded(memoryview(encoded(tree, NET)), NET) == tree
    packed = field(8, field(1, b"\x02\x80\x02"))  # protobuf's shorter spelling of several numbers
    assert decoded(memoryview(packed), NET) == {"input_shape": [{"dim": [2, 256]}]}
