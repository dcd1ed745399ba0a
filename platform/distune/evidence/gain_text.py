"""A gain in one line, and the next step that would make it clearer."""

from __future__ import annotations

from distune.evidence.gain import MIN_IMAGES, MIN_SEEDS, Gain, Verdict
from distune.evidence.power import POWER, SeedsNeeded, seeds_needed


def describe_gain(
    gain: Gain, *, verdict: Verdict | None = None, seeds: str | None = None, margin: float | None = None
) -> str:
    """Describe a gain in one line, with its interval and the number of seeds.

    Args:
        gain: over the seeds under which both runs finished.
        verdict: replaces the verdict of the gain, such as when the student diverged under some seeds.
        seeds: replaces the number of seeds, such as when some runs failed.
        margin: gains below it do not matter; with the verdict that there is none above it.

    Returns:
        Such as ``gain +1.8 AP [+1.5, +2.1], 5 seeds``.
    """
    seeds = seeds or f"{gain.num_seeds} seed{'s' if gain.num_seeds > 1 else ''}"
    teachers = f", {gain.num_teachers} teachers" if gain.num_teachers > 1 else ""
    figures = f"{_points(gain)}, {seeds}{teachers}"
    match verdict or gain.verdict:
        case Verdict.GAIN:
            return f"gain {figures}"
        case Verdict.LOSS:
            return f"worse than no distillation: {figures}"
        case Verdict.UNDECIDED if gain.num_seeds < 2:
            return f"{figures}: undecided, since one seed says nothing about the spread between seeds"
        case Verdict.UNDECIDED:
            return f"{figures}: undecided, since {name_few_images(gain)}"
        case Verdict.UNSTABLE:
            return f"unstable: {figures}"
        case Verdict.NOT_SHOWN:
            return f"no gain shown: {figures}"
        case Verdict.NO_RELEVANT_GAIN:
            return f"no gain of more than {margin:g} {gain.metric}: {figures}"


def name_few_images(gain: Gain) -> str:
    """Return the reason of a verdict that few images leave undecided."""
    images = "only one image has" if gain.num_images == 1 else f"only {gain.num_images} images have"
    return f"{images} a box that counts for {gain.metric}"


def suggest_next_step(gain: Gain) -> str | None:
    """Return the next step that would make the result clearer; None when it is clear."""
    if gain.num_images < MIN_IMAGES:
        return f"an interval needs at least {MIN_IMAGES} such images: use a larger split or another metric"
    if gain.num_teachers > 1:
        is_open = gain.verdict in (Verdict.NOT_SHOWN, Verdict.UNDECIDED)
        return (
            "the interval covers teachers; more of them would make it narrower: --teachers 4 or more"
            if is_open
            else None
        )
    if gain.num_seeds < MIN_SEEDS:
        return f"the interval means little below {MIN_SEEDS} seeds: confirm with --seeds 5 or more"
    if gain.verdict is not Verdict.NOT_SHOWN:
        return None
    if gain.mean <= 0:
        return "there is probably no gain: search again, or change the distillation"
    return _describe_needed(seeds_needed(gain), gain)


def _describe_needed(needed: SeedsNeeded, gain: Gain) -> str:
    if needed.gain <= 0:
        return f"the gain of {gain.mean:+.1f} is within its own uncertainty: it may as well be zero"
    size = f"a gain of {needed.gain:+.1f} {gain.metric} (the estimate, shrunk by its uncertainty)"
    if needed.expected is None:
        return f"more seeds would hardly show {size}; more images might"
    most = "many more" if needed.most is None else f"{needed.most}"
    return (
        f"about {needed.expected} seeds would show {size} with a probability of {POWER:.0%}; {needed.fewest} if it is "
        f"larger, {most} if it is smaller"
    )


def _points(gain: Gain) -> str:
    return f"{gain.mean:+.1f} {gain.metric} [{gain.low:+.1f}, {gain.high:+.1f}]"
