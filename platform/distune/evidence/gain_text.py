"""A gain in the words of the person who asked for it."""

from __future__ import annotations

from distune.evidence.gain import MIN_IMAGES, MIN_SEEDS, Gain, Verdict, seeds_to_show


def describe_gain(gain: Gain, *, verdict: Verdict | None = None, seeds: str | None = None) -> str:
    """One line: what was found, with its interval and the number of seeds.

    Args:
        gain: over the seeds under which both runs have finished.
        verdict: where more is known than the interval says.
        seeds: words for the number of seeds, where it is not as large as it was meant to be.
    """
    seeds = seeds or f"{gain.num_seeds} seed{'s' if gain.num_seeds > 1 else ''}"
    figures = f"{_points(gain)}, {seeds}"
    match verdict or gain.verdict:
        case Verdict.GAIN:
            return f"gain {figures}"
        case Verdict.LOSS:
            return f"worse than no distillation: {figures}"
        case Verdict.UNDECIDED if gain.num_seeds < 2:
            return f"{figures}: undecided, since one seed says nothing about the spread between seeds"
        case Verdict.UNDECIDED:
            return f"{figures}: undecided, since {_images(gain)} a box that {gain.metric} is about"
        case Verdict.UNSTABLE:
            return f"unstable: {figures}"
        case Verdict.NOT_SHOWN:
            return f"no gain shown: {figures}"


def advise(gain: Gain) -> str | None:
    """What would make the answer clearer; None when it is clear."""
    if gain.num_images < MIN_IMAGES:
        return f"{MIN_IMAGES} such images are the least that an interval needs: use a larger split, or another --metric"
    if gain.num_seeds < MIN_SEEDS:
        return f"the interval means little below {MIN_SEEDS} seeds: confirm with --seeds 5 or more"
    if gain.verdict is not Verdict.NOT_SHOWN:
        return None
    if gain.mean <= 0:
        return "it does not look like a gain at all: search again, or distill in another way"
    needed = seeds_to_show(gain)
    if needed is None:
        return f"more seeds would not show a gain of {gain.mean:+.1f}; more images might"
    return f"if the gain is as large as it looks, about {needed} seeds would show it"


def _images(gain: Gain) -> str:
    return "only one image holds" if gain.num_images == 1 else f"only {gain.num_images} images hold"


def _points(gain: Gain) -> str:
    return f"{gain.mean:+.1f} {gain.metric} [{gain.low:+.1f}, {gain.high:+.1f}]"
