"""``distune confirm``: train the best trials again on fresh seeds, and measure the gain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from distune.cli.launch import InterruptedSessionError
from distune.cli.options import JsonOption, StudyArgument
from distune.cli.output import out, print_if_simulated, print_json
from distune.confirmation.defaults import DEFAULT_SEEDS, DEFAULT_TOP

if TYPE_CHECKING:
    from distune.api.study import Study
    from distune.evidence.confirmation_result import ConfirmationResult


def confirm(
    study: StudyArgument,
    *,
    top: Annotated[int, typer.Option(min=1, help="Trials to train again, the best of the search.")] = DEFAULT_TOP,
    seeds: Annotated[int, typer.Option(min=1, help="Fresh seeds for each of them and its control.")] = DEFAULT_SEEDS,
    metric: Annotated[
        str | None, typer.Option(help="Metric that gains are measured in, such as AP50. Default: the study's.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train the best trials again on fresh seeds beside controls, and measure the gain with an interval.

    For each seed, the trials and their controls train together, for the whole budget. The best trial on the search
    split is then compared with its control on the test split, once. Ctrl-C ends the session; the same command continues
    it and computes nothing twice.

    Examples:

        distune confirm quickstart

        distune confirm quickstart --top 1 --seeds 8
    """
    import distune

    handle = distune.load_study(study)
    result = handle.confirm(top=top, seeds=seeds, metric=metric)
    if result is None:
        raise InterruptedSessionError(f"the confirmation was interrupted; continue with: distune confirm {study}")
    if json:
        print_json(
            {"simulated": handle.is_simulated, **result.to_dict(), "verdict": result.verdict, "summary": result.summary}
        )
        return
    _print_result(handle, result)


def _print_result(study: Study, result: ConfirmationResult) -> None:
    from distune.confirmation.confirmation_text import explain, headline

    for candidate in result.candidates:
        text = "not compared"
        if candidate.search is not None:
            gain = candidate.describe(candidate.search, num_seeds=len(result.seeds))
            text = f"{result.metric} {candidate.search.student:.1f}, {gain}"
        out.print(f"trial {candidate.number}, search split: {text}")
        for line in candidate.failures if candidate.number != result.winner else ():  # the winner's follow below
            out.print(f"  {line}")
    for line in (headline(result), *explain(result, study.path)):
        out.print(line)
    out.print(f"figure: {study.path / 'confirmation' / 'gain.png'}")
    print_if_simulated(simulated=study.is_simulated)
