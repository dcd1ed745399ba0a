"""``distune confirm``: train the best trials again on fresh seeds, and measure the gain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from distune.cli.launch import InterruptedSessionError
from distune.cli.options import JsonOption, StudyArgument, repeated
from distune.cli.output import out, print_if_simulated, print_json
from distune.confirmation.defaults import DEFAULT_MARGIN, DEFAULT_MAX_SEEDS, DEFAULT_SEEDS, DEFAULT_TOP

if TYPE_CHECKING:
    from distune.api.study import Study
    from distune.evidence.confirmation_result import ConfirmationResult


def confirm(
    study: StudyArgument,
    *,
    top: Annotated[
        int, typer.Option(min=1, help="Trials, the best of the search, of which other seeds choose one.")
    ] = DEFAULT_TOP,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help=f"Fresh seeds for it and its control. Default: {DEFAULT_SEEDS}, or those on record."),
    ] = None,
    teachers: Annotated[
        int, typer.Option(min=1, help="Teachers that the seeds share; all but the first are trained under other seeds.")
    ] = 1,
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="Add seeds until the question is decided.")
    ] = False,
    max_seeds: Annotated[
        int | None, typer.Option(min=2, help=f"Most seeds with --until-decided. Default: {DEFAULT_MAX_SEEDS}.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=0, help=f"With --until-decided: gains below this many points do not matter. Default: {DEFAULT_MARGIN}."
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Metric that gains are measured in, such as AP50. Default: the study's.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train the best trial again on fresh seeds beside its control, and measure the gain with an interval.

    With --top above 1, the trials race first: after each of some other seeds the worst is dropped. The chosen trial and
    its control train together under each seed, for the whole budget, and are compared on the test split. Ctrl-C ends
    the session; the same command continues it and computes nothing twice.

    With --until-decided, seeds are added one at a time until there is a gain, a loss, or no gain of more than --margin.
    Intervals that are computed again are wider, so that all of them together miss the true gain in at most 5% of cases.

    With --teachers, the teacher is trained again under other seeds, and the interval holds for other teachers as well.

    Examples:

        distune confirm quickstart

        distune confirm quickstart --top 1 --seeds 8

        distune confirm quickstart --until-decided --max-seeds 12
    """
    import distune

    handle = distune.load_study(study)
    result = handle.confirm(
        top=top,
        seeds=seeds,
        teachers=teachers,
        metric=metric,
        until_decided=until_decided,
        max_seeds=max_seeds,
        margin=margin,
    )
    if result is None:
        options: dict[str, object] = {
            "--top": None if top == DEFAULT_TOP else top,
            "--seeds": seeds,
            "--teachers": None if teachers == 1 else teachers,
            "--until-decided": until_decided,
            "--max-seeds": max_seeds,
            "--margin": margin,
            "--metric": metric,
        }
        command = repeated(f"distune confirm {study}", options)
        raise InterruptedSessionError(f"the confirmation was interrupted; continue with: {command}")
    if json:
        print_json(
            {"simulated": handle.is_simulated, **result.to_dict(), "verdict": result.verdict, "summary": result.summary}
        )
        return
    _print_result(handle, result)


def _print_result(study: Study, result: ConfirmationResult) -> None:
    from distune.confirmation.confirmation_text import explain, headline

    for candidate in result.candidates if result.selection_seeds else ():
        score = "" if candidate.score is None else f", {result.metric} {candidate.score:.1f}"
        state = "chosen" if candidate.number == result.winner else "dropped"
        seeds = f"{candidate.num_selection_seeds} seed{'s' * (candidate.num_selection_seeds != 1)}"
        out.print(f"trial {candidate.number}: {state} after {seeds}{score}")
        for line in candidate.failures if candidate.number != result.winner else ():  # the winner's follow below
            out.print(f"  {line}")
    for line in (headline(result), *explain(result, study.path)):
        out.print(line)
    out.print(f"figure: {study.path / 'confirmation' / 'gain.png'}")
    print_if_simulated(simulated=study.is_simulated)
