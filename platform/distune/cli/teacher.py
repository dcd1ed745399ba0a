"""``distune teacher``: train or find the teacher of an experiment."""

from __future__ import annotations

from distune.cli.options import ExperimentArgument, JsonOption, SetOption
from distune.cli.output import out, print_json
from distune.cli.preparation import open_data, ready_teacher
from distune.config.home import Home
from distune.config.load import load_experiment


def teacher(experiment: ExperimentArgument, *, set: SetOption = [], json: JsonOption = False) -> None:  # noqa: A002, B006
    """Train the teacher of an experiment, or find it where it was trained before.

    A teacher is kept under the hash of everything that decides it, and every study that needs the same one uses it.
    Training that was interrupted goes on after its last epoch.

    Example: `distune teacher quickstart`
    """
    loaded = load_experiment(experiment, set, check_space=False)
    splits = open_data(loaded.experiment)
    found = ready_teacher(loaded.experiment, splits, Home.from_environment())
    if json:
        print_json({"hash": found.hash, "weights": str(found.weights), "metrics": found.metrics})
        return
    out.print(f"teacher {found.hash}: {found.weights}")
    for name, value in sorted(found.metrics.items()):
        if name.startswith("search/"):
            out.print(f"  {name:<24} {value:.1f}")
