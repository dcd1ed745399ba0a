"""A gain in one line, and the next step that would make it clearer."""

from __future__ import annotations

from distune.evidence.gain import MIN_IMAGES, MIN_SEEDS, Gain, Verdict, num_seeds_needed


def describe_gain(gain: Gain, *, verdict: Verdict | None = None, seeds: str | None = None) -> str:
    """Describe a gain in one line, with its interval and the number of seeds.

    Args:
        gain: over the seeds under which both runs finished.
        verdict: replaces the verdict of the gain, such as when the student diverged under some seeds.
        seeds: replaces the number of seeds, such as when some runs failed.

    Returns:
        Such as ``gain +1.8 AP [+1.5, +2.1], 5 seeds``.
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
            return f"{figures}: undecided, since {_images(gain)} a box that counts for {gain.metric}"
        case Verdict.UNSTABLE:
            return f"unstable: {figures}"
        case Verdict.NOT_SHOWN:
            return f"no gain shown: {figures}"


def suggest_next_step(gain: Gain) -> str | None:
    """Return the next step that would make the result clearer; None when it is clear."""
    if gain.num_images < MIN_IMAGES:
        return f"an interval needs at least {MIN_IMAGES} such images: use a larger split or another metric"
    if gain.num_seeds < MIN_SEEDS:
        return f"the interval means little below {MIN_SEEDS} seeds: confirm with --seeds 5 or more"
    if gain.verdict is not Verdict.NOT_SHOWN:
        return None
    if gain.mean <= 0:
        return "there is probably no gain: search again, or change the distillation"
    needed = num_seeds_needed(gain)
    if needed is None:
        return f"more seeds would not show a gain of {gain.mean:+.1f}; more images might"
    return f"if the gain is as large as estimated, about {needed} seeds would show it"


def _images(gain: Gain) -> str:
    return "only one image has" if gain.num_images == 1 else f"only {gain.num_images} images have"


def _points(gain: Gain) -> str:
    return f"{gain.mean:+.1f} {gain.metric} [{gain.low:+.1f}, {gain.high:+.1f}]"
