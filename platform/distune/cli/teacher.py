"""``distune teacher``: train or find the teacher of an experiment."""

from __future__ import annotations

from distune.cli.options import ExperimentArgument, JsonOption, SetOption, load
from distune.cli.output import out, print_json


def teacher(experiment: ExperimentArgument, *, set: SetOption = [], json: JsonOption = False) -> None:  # noqa: A002, B006
    """Train the teacher of an experiment, or find it where it was trained before.

    A teacher is kept under the hash of everything that determines it, and every study that needs the same one uses it.
    Training that was interrupted continues after its last epoch.

    Example: `distune teacher quickstart`
    """
    import distune

    ready = distune.prepare_teacher(load(experiment, set, check_space=False))
    if json:
        print_json({"hash": ready.hash, "weights": str(ready.weights), "metrics": ready.metrics})
        return
    out.print(f"teacher {ready.hash}: {ready.weights}")
    for name, value in sorted(ready.metrics.items()):
        if name.startswith("search/"):
            out.print(f"  {name:<24} {value:.1f}")
