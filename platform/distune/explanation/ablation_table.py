"""The table of an ablation."""

from __future__ import annotations

from distune.evidence.ablation_result import AblationResult
from distune.evidence.gain import Gain
from distune.explanation.explanation import Cell, ExplanationTable


def ablation_table(result: AblationResult) -> ExplanationTable:
    """Return the effect of each term.

    Args:
        result: of the ablation.

    Returns:
        A row for each term.
    """
    everything = None if result.gain is None else round(result.gain.mean, 1)
    control = None if result.gain is None else round(result.gain.control, 1)
    rows: list[tuple[Cell, ...]] = [("all terms", control, everything, _interval(result.gain), None, "")]
    for each in result.terms:
        effect = each.effect
        figures: tuple[Cell, ...] = (None, None, None)
        if effect is not None:
            figures = (round(effect.control, 1), round(effect.mean, 1), _interval(effect))
        p_value = None if each.adjusted_p is None else float(f"{each.adjusted_p:.2g}")
        rows.append((each.term, *figures, p_value, str(each.verdict)))
    seeds = f"{len(result.seeds)} seed{'s' * (len(result.seeds) > 1)}"
    return ExplanationTable(
        title=f"Ablation of trial {result.trial}, {seeds}, search split",
        columns=("term", f"{result.metric} without it", "effect", "95% interval", "p (Holm)", "verdict"),
        rows=tuple(rows),
        note="; ".join(
            (
                "effect: the trial minus itself without the term, under the same seeds",
                "p values are adjusted for the number of terms",
                *result.limits,
            )
        ),
    )


def _interval(gain: Gain | None) -> str | None:
    return None if gain is None or gain.num_seeds < 2 else f"{gain.low:+.1f} to {gain.high:+.1f}"
