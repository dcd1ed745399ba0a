"""Seeded damage of files: bytes of any file, and values of JSON files. Each seed damages in the same way each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

WORDS = (b"-1", b"1e400", b"NaN", b"0", b"9" * 20, b"null", b"[]", b"{}", b'""', b"\xff\xfe", b"true", b"../..")
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 1e308, 10**30, float("nan"), float("inf"), "", "x", "../../x", "\x00", "[red]"),
    *([], [1], {}, {"a": []}, "a" * 5000, "\ud800", [[[[]]]]),
)
Mutation = Callable[[np.random.Generator, bytes], bytes]


def pick(generator: np.random.Generator, number: int) -> int:
    return int(generator.integers(number))


def flip(generator: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(int(generator.integers(1, 8))):
        changed[pick(generator, len(changed))] = pick(generator, 256)
    return bytes(changed)


def _span(generator: np.random.Generator, content: bytes) -> tuple[int, int]:
    start, end = sorted(int(each) for each in generator.integers(len(content) + 1, size=2))
    return start, end


def cut(generator: np.random.Generator, content: bytes) -> bytes:
    start, end = _span(generator, content)
    return content[:start] + content[end:]


def repeat(generator: np.random.Generator, content: bytes) -> bytes:
    start, end = _span(generator, content)
    return content[:end] + content[start:]


def truncate(generator: np.random.Generator, content: bytes) -> bytes:
    return content[: pick(generator, len(content))]


def replace_number(generator: np.random.Generator, content: bytes) -> bytes:
    """Replace a run of digits by another word."""
    digits = [index for index, byte in enumerate(content) if 48 <= byte <= 57]
    if not digits:
        return flip(generator, content)
    start = end = digits[pick(generator, len(digits))]
    while end < len(content) and 48 <= content[end] <= 57:
        end += 1
    return content[:start] + WORDS[pick(generator, len(WORDS))] + content[end:]


def insert(generator: np.random.Generator, content: bytes) -> bytes:
    position = pick(generator, len(content) + 1)
    return content[:position] + WORDS[pick(generator, len(WORDS))] + content[position:]


def zero(generator: np.random.Generator, content: bytes) -> bytes:
    """Zero a part, as a crash of the machine does."""
    start, end = _span(generator, content)
    return content[:start] + bytes(end - start) + content[end:]


MUTATIONS: tuple[Mutation, ...] = (flip, cut, repeat, truncate, replace_number, replace_number, insert)


def replace_json_value(generator: np.random.Generator, content: bytes) -> bytes:
    """Replace or remove a value anywhere in a JSON file, or in a line of a file of JSON lines."""
    lines = content.splitlines()
    try:
        documents, is_lines = [json.loads(content)], False
    except ValueError:
        documents, is_lines = [json.loads(line) for line in lines], True
    number = pick(generator, len(documents))
    places = list(_places(documents[number]))
    if not places:
        documents[number] = VALUES[pick(generator, len(VALUES))]
    else:
        parent, name = places[pick(generator, len(places))]
        if pick(generator, 5) == 0:
            del parent[name]
        else:
            parent[name] = VALUES[pick(generator, len(VALUES))]
    texts = [json.dumps(each).encode() for each in documents]
    return b"".join(text + b"\n" for text in texts) if is_lines else texts[0]


def _places(value: Any) -> Any:
    """Yield each container below a value with each of its names."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, below in list(pairs):
        yield value, name
        yield from _places(below)


def damaged(seed: int, content: bytes, *, is_json: bool = False) -> bytes:
    """Damage a file in one or two ways; half of those of a JSON file leave it valid."""
    generator = np.random.default_rng(seed)
    if is_json and pick(generator, 2) == 0:
        return replace_json_value(generator, content)
    ways = (*MUTATIONS, zero)
    for _ in range(1 + pick(generator, 2)):
        content = ways[pick(generator, len(ways))](generator, content or b"0")
    return content
