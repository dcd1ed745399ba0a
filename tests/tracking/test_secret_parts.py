"""Redacting takes time that grows linearly with the text, whatever the text is."""

from __future__ import annotations

import time

import pytest

from distune.tracking.uris import redact_uri

LENGTH = 20_000
GROWTH = 16
SLACK = 4
"""Linear growth takes 16 times as long, quadratic growth 256 times: the bound lies between, at 64."""


def seconds(text: str) -> float:
    """Return the CPU time of the fastest of three calls."""
    times = []
    for _ in range(3):
        start = time.process_time()
        redact_uri(text)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize(
    "word",
    ["a", "://a:b", "://a:b ", "https://u:1", "://", "@", "token={", "token={ ", "token=%7B ", "key=", "%3D", "?sig"],
)
def test_the_time_grows_linearly(word: str) -> None:
    short = word * (LENGTH // len(word))
    assert seconds(short * GROWTH) < SLACK * GROWTH * max(seconds(short), 1e-4)


@pytest.mark.parametrize("around", ["{} ", "{}://", "{}@", "{}=", "?{}"])
def test_a_secret_behind_a_long_word_is_found(around: str) -> None:
    text = redact_uri(f"{around.format('a' * 100_000)} postgresql://ann:secret@db/x?password=secret")
    assert text.endswith("postgresql://***@db/x?password=***")
