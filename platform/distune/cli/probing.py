"""The probe of ``distune validate --probe``: a line for each parameter as it comes, a table at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from distune.cli.output import out, progress
from distune.config.format_value import format_value
from distune.config.home import Home
from distune.config.load import LoadedExperiment
from distune.errors import ConfigError
from distune.reports.tables import short_name

if TYPE_CHECKING:
    from distune.data.splits import Splits
    from distune.training.probe.findings import Finding

_TABLE_WIDTH = 110


def probe_space(loaded: LoadedExperiment, splits: Splits, *, num_images: int) -> list[Finding]:
    """Probe every searched parameter, and print each finding when it is there. Raises ``UsageError``."""
    import torch

    from distune.training.probe.probe import Probe
    from distune.training.teacher import load_teacher

    started = time.monotonic()
    teacher = load_teacher(loaded.experiment, splits, home=Home.from_environment())
    if teacher is None and loaded.experiment.teacher.weights is None:
        progress.print("probe: the teacher is not trained yet, so random weights are used")
    wants_gpu = loaded.experiment.resources.gpus_per_trial > 0 and torch.cuda.is_available()
    probe = Probe(
        loaded,
        splits,
        teacher_weights=None if teacher is None else str(teacher.weights),
        device=torch.device("cuda" if wants_gpu else "cpu"),
        num_images=num_images,
    )
    findings = []
    for finding in probe.findings():
        findings.append(finding)
        progress.print(f"probe: {finding.path} at {_values(finding)}: {_describe(finding)}", markup=False)
    progress.print(f"probe: {len(findings)} parameters in {time.monotonic() - started:.1f} s")
    return findings


def print_findings(findings: Sequence[Finding]) -> None:
    """The table of what a probe has found, and a line for each parameter that needs one."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("parameter", "between", "verdict", "largest change"):
        table.add_column(name, no_wrap=True)
    for name in ("by", "in epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for finding in findings:
        change = ("", "", "")
        if finding.change is not None:
            change = (finding.change.name, f"{finding.change.fraction:.2%}", str(finding.change.epoch))
        style = "bold red" if finding.is_problem else ""
        table.add_row(short_name(finding.path), _values(finding), str(finding.verdict), *change, style=style)
    # As wide as it is: cut to a narrow terminal, or to the 80 columns of a log, numbers would be lost.
    Console(width=max(out.width, _TABLE_WIDTH)).print(table)
    for finding in findings:
        if finding.remark and not finding.is_problem:
            out.print(f"{finding.path} {finding.verdict}: {finding.remark}", markup=False)


def stop_if_wrong(loaded: LoadedExperiment, findings: Sequence[Finding]) -> None:
    """Raise ``ConfigError`` with a line for each parameter without an effect or with a value that fails."""
    problems = [f"{finding.path}  {_problem(finding)}" for finding in findings if finding.is_problem]
    if problems:
        raise ConfigError(f"{loaded.source}, search space {loaded.space.name}", problems)


def _problem(finding: Finding) -> str:
    from distune.training.probe.findings import Verdict

    if finding.verdict is Verdict.FAILS:
        return f"fails at {_values(finding)}: {finding.remark}"
    cause = finding.remark or "remove it from the space, or find the setting that disables it"
    return f"changes neither a loss nor a gradient between {_values(finding)}: {cause}"


def _describe(finding: Finding) -> str:
    return ", ".join(part for part in (str(finding.verdict), _change(finding), finding.remark) if part)


def _values(finding: Finding) -> str:
    return " and ".join(format_value(value, digits=3) for value in finding.values)


def _change(finding: Finding) -> str:
    change = finding.change
    if change is None:
        return ""
    return f"{change.name} by {change.fraction:.2%} in epoch {change.epoch} ({change.first:.4g}, {change.second:.4g})"
