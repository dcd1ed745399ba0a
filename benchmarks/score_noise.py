"""How noisy is the score of a trial? Sizes and correlations of noise in the stored runs of ``benchmarks/gain.py``.

All arms of a seed start from the same weights and see the same images in the same order, as all trials of a study do.
So an arm under several seeds shows the noise of a score, two arms under the same seeds show how much of it they share,
and the scores after each epoch (``--curves``) show how it changes during a training::

    python benchmarks/score_noise.py
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Lines = Sequence[Mapping[str, Any]]

RESULTS = Path(__file__).parent / "results"
PAIRS = ("pair-bccd", "pair-chess")
CONTROL, TEACHER = "control", "teacher"
QUARTERS = ("first", "second", "third", "last")
_FEWEST_SEEDS = 5


def read_lines(pair: str) -> Lines:
    lines = [json.loads(line) for line in (RESULTS / f"{pair}.jsonl").read_text().splitlines()]
    return [line for line in lines if line["arm"] != TEACHER and line["split"] == "test"]


def scores_by_arm(lines: Lines) -> dict[str, Floats]:
    """Return the last AP of each arm without a condition, over the seeds that all long runs have in common."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for line in lines:
        if not line["condition"]:
            found[line["arm"]][line["seed"]] = line["figures"]["AP"]
    found = {arm: scores for arm, scores in found.items() if len(scores) >= _FEWEST_SEEDS}
    seeds = sorted(set.intersection(*(set(scores) for scores in found.values())))
    return {arm: np.array([scores[seed] for seed in seeds]) for arm, scores in found.items()}


def correlation(first: Floats, second: Floats) -> str:
    """Return a correlation with its 95% interval by Fisher's transformation."""
    found = float(np.corrcoef(first, second)[0, 1])
    half = 1.96 / np.sqrt(len(first) - 3)
    low, high = np.tanh(np.arctanh(found) - half), np.tanh(np.arctanh(found) + half)
    return f"{found:+.2f} [{low:+.2f}, {high:+.2f}]"


def between_seeds(pair: str) -> Iterator[str]:
    """Yield a row per arm: the spread of its score between seeds, and what it has in common with the control's."""
    arms = scores_by_arm(read_lines(pair))
    control = arms.pop(CONTROL)
    first = next(iter(arms.values()))
    name = pair.removeprefix("pair-")
    yield f"| {name}, control | {len(control)} | {control.std(ddof=1):.1f} | | | |"
    for arm, scores in arms.items():
        others = [np.corrcoef(scores, other)[0, 1] for key, other in arms.items() if key != arm]
        yield (
            f"| {name}, {arm} | {len(first)} | {scores.std(ddof=1):.1f} | {correlation(scores, control)} "
            f"| {(scores - control).std(ddof=1):.1f} | {', '.join(f'{each:+.2f}' for each in others)} |"
        )


def curve_pairs() -> tuple[list[tuple[Floats, Floats]], list[tuple[Floats, Floats]]]:
    """Return pairs of curves of one arm under two seeds, and of a student and the control of its seed.

    A control has no teacher, so its curve belongs to the students of every teacher.
    """
    seeds: list[tuple[Floats, Floats]] = []
    controls: list[tuple[Floats, Floats]] = []
    for pair in PAIRS:
        curves: dict[tuple[str, str], dict[int, Floats]] = defaultdict(dict)
        for line in read_lines(pair):
            if line["curve"]:
                student = line["arm"] != CONTROL
                kept = {path: to for path, to in line["condition"].items() if student or "teacher" not in path}
                curves[line["arm"], json.dumps(kept)][line["seed"]] = np.array(line["curve"])
        for (arm, _), found in curves.items():
            seeds += itertools.combinations(found.values(), 2)
            if arm != CONTROL:
                of_control = {
                    seed: curve for (each, _), by in curves.items() if each == CONTROL for seed, curve in by.items()
                }
                controls += [(curve, of_control[seed]) for seed, curve in found.items() if seed in of_control]
    return seeds, controls


def during_training() -> Iterator[str]:
    """Yield a row per quarter of the training: the sizes of both parts of the noise, and their correlations."""
    seeds, controls = curve_pairs()
    differences_PE = np.array([first - second for first, second in seeds]) / np.sqrt(2.0)
    means_PQ = np.array([[part.mean() for part in np.array_split(each, 4)] for each in differences_PE])
    num_epochs = differences_PE.shape[1]
    # The second difference of white noise has six times its variance, and none of a slow part.
    second_PE = np.diff(differences_PE, 2) / np.sqrt(6.0)
    for quarter, name in enumerate(QUARTERS):
        epoch_variance = np.mean(np.array_split(second_PE, 4, axis=1)[quarter] ** 2)
        slow_variance = np.mean(means_PQ[:, quarter] ** 2) - epoch_variance / (num_epochs / 4)
        with_control = [
            np.corrcoef(_epoch_part(student, quarter), _epoch_part(control, quarter))[0, 1]
            for student, control in controls
        ]
        with_last = np.mean(means_PQ[:, quarter] * means_PQ[:, -1]) / np.sqrt(
            np.mean(means_PQ[:, quarter] ** 2) * np.mean(means_PQ[:, -1] ** 2)
        )
        yield (
            f"| {name} | {np.sqrt(max(0.0, slow_variance)):.1f} | {np.sqrt(epoch_variance):.1f} | {with_last:+.2f} "
            f"| {np.mean(with_control):+.2f} |"
        )


def _epoch_part(curve_E: Floats, quarter: int) -> Floats:
    """Return the second differences of a curve in a quarter of the training: little of its slow part is left."""
    return np.array_split(np.diff(curve_E, 2), 4)[quarter]


def tables() -> Iterator[str]:
    """Yield both tables."""
    yield "Last AP on the test split, between seeds; six epochs:"
    yield ""
    yield "| arm | seeds | SD | correlation with the control | SD of the difference | with the other students |"
    yield "|---|---|---|---|---|---|"
    for pair in PAIRS:
        yield from between_seeds(pair)
    seeds, controls = curve_pairs()
    yield ""
    yield (
        f"AP after each of 24 epochs on the search split; {len(seeds)} pairs of seeds of one arm, "
        f"{len(controls)} pairs of a student and its control:"
    )
    yield ""
    yield "| quarter | SD, slow part | SD, epoch to epoch | slow part, with the last | epochs, with the control |"
    yield "|---|---|---|---|---|"
    yield from during_training()


if __name__ == "__main__":
    for line in tables():
        print(line)
