"""The summary of ``benchmarks/gain.py``: Markdown tables of stored lines, with intervals and corrected p values.

Intervals cover training seeds and test images, and p values have the same distribution (``distune.evidence``). All arms
that were compared with the same arm, on the same split and under the same condition, are one family of comparisons. Its
p values are corrected by Holm's procedure, also for arms that the table does not show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from choice_and_results import TEACHER
from distune.evidence.gain import Gain, gain_from_scores
from distune.evidence.p_values import holm_adjusted, p_value

Values = dict[str, Any]
Lines = dict[int, Values]
"""Seed to the stored line."""

CONTROL = "control"


def compare(first: Mapping[int, Values], second: Mapping[int, Values], metric: str) -> Gain | None:
    """Return the gain of the second arm over the first on common seeds; None without one.

    The interval covers seeds and images for AP, and seeds alone for other metrics.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None

    def scores(lines: Mapping[int, Values]) -> Any:
        more = "resampled_AP" if metric == "AP" else None
        return np.array([[lines[seed]["figures"][metric], *(lines[seed][more] if more else [])] for seed in seeds])

    images = next(iter(first.values()))["images"]
    return gain_from_scores(seeds, scores(second), scores(first), metric=metric, num_images=images)


def compare_all(by_arm: Mapping[str, Lines], reference: str, metric: str) -> dict[str, tuple[Gain, float]]:
    """Compare every arm with one of them.

    Args:
        by_arm: the lines of every arm.
        reference: the arm that the others are compared with. The control is not compared with another arm.
        metric: of the comparison.

    Returns:
        Name of the arm to its gain over ``reference`` and its p value, which is adjusted for all of these arms. An arm
        of one seed has 1, so that it counts among them.
    """
    gains = {
        arm: gain
        for arm, lines in by_arm.items()
        if arm not in (TEACHER, CONTROL, reference) and (gain := compare(by_arm[reference], lines, metric)) is not None
    }
    adjusted = holm_adjusted([p_value(gain) if gain.num_seeds > 1 else 1.0 for gain in gains.values()])
    return {arm: (gain, value) for (arm, gain), value in zip(gains.items(), adjusted, strict=True)}


def summarize(lines: Sequence[Values], *, base: str | None, metric: str, arms: Sequence[str] = ()) -> str:
    """Return a Markdown table of each arm's mean and gains, and lines with the number of comparisons and of failures.

    A seed under which the training of an arm failed has no figures, and is in no mean and no gain.

    Args:
        lines: of one condition and split.
        base: the arm that the others are compared with, beside the control; None for the control alone.
        metric: of the table.
        arms: the arms that the table shows; all if empty. Those that it does not show are corrected for all the same.

    Returns:
        The text.
    """
    by_arm: dict[str, Lines] = {}
    for line in lines:
        if "failed" not in line:
            by_arm.setdefault(line["arm"], {})[line["seed"]] = line
    references = [arm for arm in dict.fromkeys((CONTROL, base)) if arm is not None and arm in by_arm]
    families = {reference: compare_all(by_arm, reference, metric) for reference in references}
    rows = [["arm", metric, "seeds", *(f"over {reference}" for reference in references)]]
    for arm, found in by_arm.items():
        if arm == TEACHER or not arms or arm in arms:
            mean = np.mean([line["figures"].get(metric, np.nan) for line in found.values()])
            cells = [_interval(*family[arm]) if arm in family else "" for family in families.values()]
            rows.append([arm, f"{mean:.1f}", "" if arm == TEACHER else str(len(found)), *cells])
    return "\n\n".join([_table(rows), *_count_comparisons(families, by_arm), *_count_failures(lines)])


def _count_failures(lines: Sequence[Values]) -> list[str]:
    """Return a sentence with the number of seeds under which each arm failed; none without failures."""
    failed: dict[str, list[int]] = {}
    for line in lines:
        if "failed" in line:
            failed.setdefault(line["arm"], []).append(line["seed"])
    if not failed:
        return []
    counts = [
        f"{arm} under {len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'} ({', '.join(map(str, sorted(seeds)))})"
        for arm, seeds in failed.items()
    ]
    return [f"Training failed, and is in no figure: {'; '.join(counts)}."]


def _count_comparisons(
    families: Mapping[str, Mapping[str, tuple[Gain, float]]], by_arm: Mapping[str, Lines]
) -> list[str]:
    if not any(families.values()):
        return []
    seeds = sorted({seed for arm, lines in by_arm.items() if arm != TEACHER for seed in lines})
    counts = [
        f"{len(family)} {'arm' if len(family) == 1 else 'arms'} with {reference}"
        for reference, family in families.items()
        if family
    ]
    tried = f"Compared on these images with {_ranges(seeds)}: {', '.join(counts)}."
    if not any(gain.num_seeds > 1 for family in families.values() for gain, _ in family.values()):
        return [tried]
    return [f"{tried} p is adjusted for all arms of its column (Holm); intervals are not adjusted."]


def _ranges(seeds: Sequence[int]) -> str:
    """Return rising seeds as text, such as ``seeds 0, 10 to 12``."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    texts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(texts)}"


def _interval(gain: Gain, adjusted: float) -> str:
    better = sum(value > 0 for value in gain.by_seed.values())
    if gain.num_seeds < 2:
        return f"{gain.mean:+.1f}, one seed"
    p = "p < 0.001" if adjusted < 0.001 else f"p = {adjusted:.2g}"
    return f"{gain.mean:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}], {better} of {gain.num_seeds}, {p}"


def read_instruments(lines: Sequence[Values]) -> str:
    """Return Markdown tables of what the trainings of one arm reported, over its seeds and stored epochs.

    The first has for each term the delivered share over the asked one, lowest and highest from the second epoch on, and
    the mean cosine of its gradient with the task's; then the mean fraction of steps clipped in the first and in the
    last epoch. The second has for each level the features' figures of both models in the last epoch.
    """
    last = [line["instruments"][max(line["instruments"], key=int)] for line in lines]
    first = [line["instruments"][min(line["instruments"], key=int)] for line in lines]
    later = [values for line in lines for epoch, values in line["instruments"].items() if int(epoch) > 1]
    rows = [["reading", "lowest", "mean", "highest"]]

    def add(name: str, values: Sequence[float]) -> None:
        if values:
            rows.append([name, *(f"{value:.3g}" for value in (min(values), float(np.mean(values)), max(values)))])

    for term in sorted({name.removeprefix("share/") for values in later for name in values if "share/" in name}):
        asked, share = f"share_asked/{term}", f"share/{term}"
        add(f"{term}: delivered/asked", [v[share] / v[asked] for v in later if v.get(asked) and share in v])
        add(f"{term}: cosine with the task", [v[c] for v in later if (c := f"gradient_cosine/{term}") in v])
    for name in ("gradient/clipped", "gradient/distillation_clipped", "filter/kept_local"):
        add(f"{name}, first epoch", [values[name] for values in first if name in values])
        add(f"{name}, last epoch", [values[name] for values in last if name in values])
    strides = sorted(
        {int(name.rpartition("/")[2]) for values in last for name in values if name.startswith("features/")}
    )
    levels = [["last epoch, by stride", *map(str, strides)]]
    for figure in ("class_gap", "mean_cosine", "effective_rank"):
        for model in ("teacher", "student"):
            names = [f"features/{figure}_{model}/{stride}" for stride in strides]
            means = [float(np.mean([values[name] for values in last if name in values])) for name in names]
            levels.append([f"{figure}, {model}", *(f"{mean:.2f}" for mean in means)])
    return f"{_table(rows)}\n\n{_table(levels)}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)
