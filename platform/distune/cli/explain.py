"""``distune explain``: why distillation helped or did not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from distune.cli.launch import InterruptedSessionError
from distune.cli.options import JsonOption, StudyArgument, repeated
from distune.cli.output import out, print_if_simulated, print_json
from distune.errors import UsageError
from distune.explanation.explanation import cell_text, grouped

if TYPE_CHECKING:
    from distune.explanation.explanation import Explanation, ExplanationTable
    from distune.explanation.finding import Finding

_LABELS = {"ok": "OK", "problem": "PROBLEM", "unknown": "unknown"}
_STYLES = {"ok": "green", "problem": "bold red", "unknown": "yellow"}
_INDENT = 10


def explain(
    study: StudyArgument,
    *,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="First train the best trial again without each of its terms.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Seeds of the ablation. Default: 3, or those on record.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Find the reasons why distillation helped or did not, and what to try next.

    Checks the teacher, its classes, the shares and directions of gradients, clipping, prototypes, the filter, the
    budget, overfitting, the spread between seeds, the data, and failed trials. Then compares the errors of the student
    with those of its control and its teacher. All three run on the search split, once; the test split is not used.

    With --ablate, the best trial is trained without each of its terms under the seeds of distune confirm, which shares
    its runs. Ctrl-C ends the session; the same command continues it and computes nothing twice.

    Examples:

        distune explain quickstart

        distune explain quickstart --ablate --seeds 5
    """
    import distune

    if seeds is not None and not ablate:
        raise UsageError(f"--seeds {seeds} has no effect without --ablate")
    handle = distune.load_study(study)
    ablation = handle.ablate(seeds=seeds) if ablate else None
    if ablate and ablation is None:
        command = repeated(f"distune explain {study} --ablate", {"--seeds": seeds})
        raise InterruptedSessionError(f"the ablation was interrupted; continue with: {command}")
    result = handle.explain()
    if json:
        own = {} if ablation is None else {"ablation": ablation.to_dict()}
        print_json({**result.to_dict(), **own})
        return
    _print(result)
    if ablation is not None:
        for line in ablation.failures:
            out.print(f"not in the ablation: {line}")
    print_if_simulated(simulated=result.simulated)


def _print(result: Explanation) -> None:
    out.print(f"study {result.study}: {result.summary}")
    for names, finding in grouped(result.findings):
        _print_finding(names, finding)
    counts = f"{len(result.problems)} problem{'s' * (len(result.problems) != 1)} in {len(result.findings)} checks"
    out.print(counts)
    for note in result.notes:
        out.print(f"note: {note}")
    for table in result.tables:
        out.print()
        _print_table(table)


def _print_finding(names: str, finding: Finding) -> None:
    label = _LABELS[finding.state].ljust(_INDENT)
    out.print(f"{label}{names}: {finding.text}", style=_STYLES[finding.state], soft_wrap=True)
    if finding.advice:
        out.print(f"{' ' * _INDENT}try: {finding.advice}", soft_wrap=True)


def _print_table(table: ExplanationTable) -> None:
    shown = Table(
        title=table.title, title_justify="left", title_style="bold", box=None, header_style="bold", pad_edge=False
    )
    for index, name in enumerate(table.columns):
        shown.add_column(name, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for row in table.rows:
        shown.add_row(*map(cell_text, row))
    out.print(shown)
    if table.note:
        out.print(table.note, style="dim")
