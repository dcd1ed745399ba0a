"""Files that are too large, too deep or circular are refused with the line, in a moment."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from distune.config.load import load_experiment
from distune.config.yaml import parse_plain, parse_yaml, read_yaml
from distune.config.yaml_limits import MAX_DEPTH, MAX_VALUES
from distune.errors import MAX_PROBLEMS_SHOWN, ConfigError

LIMIT_S = 60.0
"""CPU seconds for the hardest files that are within the limits; they take under one."""
HEAD = "name: s\nparameters:\n"


def levels(first: str, line: str, num_levels: int = 9) -> str:
    return first + "".join(
        line.replace("NEW", f"a{level + 1}").replace("OLD", f"a{level}") for level in range(num_levels)
    )


TEXTS = {
    "values": ("a: [" + "1," * MAX_VALUES + "]", r"line 1  has more than 20000 values"),
    "characters": ("a: " + "x" * 1_000_001, r"has more than 1000000 characters"),
    "flow lists": ("a: " + "[" * 200_000, r"line 1  has more than 40 lists and mappings inside of each other"),
    "flow mappings": ("{a: " * 1000 + "1" + "}" * 1000, "line 1  has more than 40"),
    "blocks": ("\n".join(" " * level + "a:" for level in range(500)) + " 1", "line 4[0-9]  has more than 40"),
    "deep for one parser alone": ("x: {a:" + "{" * 2000, "line 1  has more than 40"),
    "deep aliases": (levels("a0: &a0 [1]\n", "NEW: &NEW [*OLD]\n", 60), "line 4[0-9]  has more than 40"),
    "list of itself": ("a: 1\nb: &b [*b]", r"line 2  \*b stands inside of &b itself"),
    "mapping of itself": ("&a\nname: x\ndata: *a", r"line 3  \*a stands inside of &a itself"),
    "merge of itself": ("x: &a\n  <<: *a", r"line 2  \*a stands inside of &a itself"),
    "bomb of lists": (levels("a0: &a0 [1, 2]\n", f"NEW: &NEW [{'*OLD,' * 9}]\n"), "line 5  has more than 20000 values"),
    "bomb of merges": (
        levels("a0: &a0 {x: 1}\n", f"NEW: &NEW {{<<: [{'*OLD,' * 9}], NEW: 1}}\n"),
        "line 5  has more than 20000 values",
    ),
    "date": ("a: 1\nb: 2001-13-01", "line 2  '2001-13-01' cannot be read as timestamp .month must be"),
    "tag of a number": ("a: !!int abc", "line 1  'abc' cannot be read as int; if it is text, put it in quotes"),
    "tag of a truth": ("a: !!bool abc", "line 1  'abc' cannot be read as bool"),
    "tag of nothing": ("a: !!int ''", "line 1  '' cannot be read as int"),
    "tag of a date": ("a: !!timestamp abc", "line 1  'abc' cannot be read as timestamp"),
    "digits": ("a: " + "9" * 5000, "line 1  '999.*' cannot be read as int"),
    "whole number": ("a: 1\nb: {c: 1" + "0" * 400 + "}", r"b.c = 1000*\.\.\. \(line 2\)  is too large a number"),
    "number": ("a: [1.0e+400]", r"a = 1.0e\+400 \(line 1\)  is too large a number"),
    "surrogate": ('a: "\\ud800"', r"a \(line 1\)  has a character that is not text"),
    "zero byte": ('a: "b\\0"', r"a \(line 1\)  has a character that is not text"),
    "key": ("[a]: 1", "line 1  .* unhashable key"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_beyond_the_limits_is_refused_with_its_line(name: str) -> None:
    text, message = TEXTS[name]
    start = time.process_time()
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, source="file")
    assert time.process_time() - start < LIMIT_S


def test_files_of_other_programs_have_the_same_limits() -> None:
    for name in ("flow lists", "list of itself", "bomb of lists", "date"):
        with pytest.raises(ValueError, match=TEXTS[name][1]):
            parse_plain(TEXTS[name][0])


def test_aliases_within_the_limits_are_read() -> None:
    values, _ = parse_yaml("a: &a {x: [1, 2]}\nb: {<<: *a, y: *a}\n", source="file")
    assert values["b"] == {"x": [1, 2], "y": {"x": [1, 2]}}
    deep = "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert parse_yaml(deep, source="file")[0]["a"]


def choice(number: int, when: str) -> str:
    return f"  p{number}: {{kind: choice, values: [1, 2], when: {{{when}}}}}\n"


SPACES = {
    "long chain": HEAD + choice(0, "") + "".join(choice(number, f"p{number - 1}: 1") for number in range(1, 250)),
    "long circle": HEAD + "".join(choice(number, f"p{(number + 1) % 250}: 1") for number in range(250)),
    "many ways": HEAD
    + choice(0, "")
    + "".join(
        choice(number, ", ".join(f"p{each}: [1, 2]" for each in range(max(0, number - 8), number)))
        for number in range(1, 250)
    ),
    "many circles": HEAD
    + "".join(choice(number, ", ".join(f"p{(number + each) % 99}: 1" for each in range(1, 9))) for number in range(99)),
    "unknown paths": HEAD
    + "".join(f"  training.x{number}: {{kind: float, low: 0, high: 1}}\n" for number in range(250)),
    "unknown parents": HEAD + "".join(choice(number, f"training.x{number}: 1") for number in range(250)),
    "1000 paths": HEAD + "".join(choice(number, "") for number in range(1000)),
    "tiny step": HEAD + "  distillation.decay: {kind: float, low: 0, high: 1, step: 1.0e-300}\n",
    "large range": HEAD + "  distillation.decay: {kind: float, low: -1.0e+308, high: 1.0e+308}\n",
    "large numbers": HEAD + "  training.batch_size: {kind: int, low: 1, high: 100000000000000000}\n",
}


@pytest.mark.parametrize("name", SPACES)
def test_a_hard_search_space_is_refused_in_a_moment(name: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(SPACES[name])
    start = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load_experiment("quickstart", space=path)
    assert time.process_time() - start < LIMIT_S
    lines = str(caught.value).splitlines()
    assert len(lines) <= MAX_PROBLEMS_SHOWN + 2
    assert len(str(caught.value)) < 50_000
    assert "line " in lines[1]


def test_problems_beyond_the_first_twenty_are_counted() -> None:
    values = {"name": "x", **{f"unknown{number}": 1 for number in range(9_000)}}
    start = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load_experiment(values)
    assert time.process_time() - start < LIMIT_S
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("9003 problems")
    assert lines[-1] == "  and 8983 more"
    assert len(lines) == 1 + MAX_PROBLEMS_SHOWN + 1


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="has more than 1000000 characters"):
        read_yaml(Path("/dev/zero"))


def test_a_pipe_of_the_shell_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a: 1\n")
    os.close(writing)
    assert read_yaml(Path(f"/dev/fd/{reading}"))[0] == {"a": 1}
    os.close(reading)
