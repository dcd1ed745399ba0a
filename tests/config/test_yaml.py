"""Reading of YAML: keys given twice, and merge keys."""

from __future__ import annotations

import pytest

from distune.config.yaml import parse_yaml
from distune.errors import ConfigError

MERGED = """\
base: &base
  a: 1
  b: {c: 2}
more:
  <<: *base
  a: 3
"""


def test_a_key_overrides_one_of_a_merge() -> None:
    values, lines = parse_yaml(MERGED, source="file")
    assert values["more"] == {"a": 3, "b": {"c": 2}}
    assert lines["more.a"] == 6
    assert lines["more.b.c"] == 3


def test_the_first_of_several_merges_wins() -> None:
    values, lines = parse_yaml("x: &x {a: 1}\ny: &y {a: 2}\nz: {<<: [*x, *y]}\n", source="file")
    assert values["z"] == {"a": 1}
    assert lines["z.a"] == 1


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2\n", "x: {a: 1, a: 2}\n", "x: &x {b: 0}\ny:\n  <<: *x\n  a: 1\n  a: 2\n", "y: {<<: {a: 1, a: 2}}\n"],
)
def test_a_key_given_twice(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a .*is given twice; the first time in line"):
        parse_yaml(text, source="file")
