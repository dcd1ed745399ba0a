"""Choosing and reporting are kept apart: no figure is a result on images or seeds by which a setting was chosen.

Seeds below ``FIRST_RESULT_SEED``, by habit ``CHOICE_SEEDS``, are scored on the search split and choose settings. Seeds
from ``FIRST_RESULT_SEED`` on are scored on the test split and give results. ``benchmarks/gain.py`` refuses to run other
combinations, and leaves out stored lines of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CHOICE_SEEDS = (0, 1)
FIRST_RESULT_SEED = 10
RESULT_SEEDS = tuple(range(FIRST_RESULT_SEED, FIRST_RESULT_SEED + 8))
TEACHER = "teacher"
"""Arm of the teacher's line. It is one network for all seeds, so its line has no seed of its own."""


def default_seeds(split: str) -> tuple[int, ...]:
    """Return the seeds of a split where none are given."""
    return CHOICE_SEEDS if split == "search" else RESULT_SEEDS


def is_allowed(split: str, seed: int) -> bool:
    """Return if students of this seed may be scored on this split."""
    return (seed < FIRST_RESULT_SEED) == (split == "search")


def refusal(split: str, seeds: Iterable[int]) -> str | None:
    """Return a sentence that says why these seeds may not be scored on this split; None if they may."""
    refused = [seed for seed in seeds if not is_allowed(split, seed)]
    if not refused:
        return None
    given = f"--split {split} --seeds {' '.join(map(str, refused))}"
    if split == "search":
        return f"{given}: the search split chooses settings, with seeds below {FIRST_RESULT_SEED}, such as 0 and 1."
    return (
        f"{given}: results on the test split need seeds from {FIRST_RESULT_SEED} on, since lower ones chose settings."
    )


def separate(lines: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the stored lines that keep the rule, and those that break it."""
    kept: list[dict[str, Any]] = []
    broken: list[dict[str, Any]] = []
    for line in lines:
        keeps = line["arm"] == TEACHER or is_allowed(line["split"], line["seed"])
        (kept if keeps else broken).append(dict(line))
    return kept, broken


def left_out_note(broken: Iterable[Mapping[str, Any]], split: str) -> str:
    """Return the note under a summary that says which stored lines it leaves out; empty without any."""
    found = list(broken)
    if not found:
        return ""
    number = "1 stored line" if len(found) == 1 else f"{len(found)} stored lines"
    seeds = f"seeds from {FIRST_RESULT_SEED} on" if split == "search" else f"seeds below {FIRST_RESULT_SEED}"
    return f"Left out: {number} with {seeds}, which may not be scored on the {split} split."
