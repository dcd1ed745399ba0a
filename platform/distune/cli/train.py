"""``distune train``: one trial without a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distune.cli.options import ExperimentArgument, JsonOption, SetOption
from distune.cli.output import out, print_json, progress
from distune.cli.preparation import describe_data, open_data, ready_teacher
from distune.config.experiment import without_distillation
from distune.config.hashing import content_hash
from distune.config.home import Home
from distune.config.load import load_experiment, trial_experiment
from distune.config.metric_names import metric_name
from distune.errors import TrialError
from distune.records import TrialSpec
from distune.training.trial_folder import TrialFolder


def train(
    experiment: ExperimentArgument,
    *,
    set: SetOption = [],  # noqa: A002, B006
    control: Annotated[bool, typer.Option("--control", help="Train without distillation.")] = False,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the trial. An interrupted one there goes on.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train one student under an experiment's own values, without a search.

    Example: `distune train quickstart --set training.epochs=4`
    """
    from distune.training.solo_run import open_trial

    loaded = load_experiment(experiment, set, check_space=False)
    home = Home.from_environment()
    values = trial_experiment(loaded.experiment, {})
    values = without_distillation(values) if control else values
    splits = open_data(loaded.experiment)
    progress.print(f"data: {describe_data(splits)}")
    distils = loaded.experiment.distillation.is_active and not control
    weights = str(ready_teacher(loaded.experiment, splits, home).weights) if distils else None
    folder = TrialFolder(out_folder or home.root / "trained" / f"{loaded.experiment.name}-{content_hash(values)}")
    spec = TrialSpec(
        study="",
        number=-1 if control else 0,
        control=control,
        seed=loaded.experiment.training.seed,
        num_epochs=loaded.experiment.training.epochs,
        params={},
        experiment=values,
        folder=str(folder.path),
        teacher_weights=weights,
    )
    metric = metric_name(loaded.experiment)
    run = open_trial(spec)
    try:
        while run.epochs_done < spec.num_epochs:
            report = run.run_epoch()
            if not report.is_finite(metric):
                raise TrialError(f"training diverged in epoch {report.epoch}; lower training.optimizer.learning_rate")
            progress.print(
                f"epoch {report.epoch}/{spec.num_epochs}  {metric} {report.metrics[metric]:.1f}  "
                f"loss {report.metrics['loss/total']:.3f}  {report.metrics['time/epoch_s']:.1f} s"
            )
    finally:
        run.close()
    best = max(folder.reports(), key=lambda each: each.metrics[metric])
    if json:
        print_json({"folder": str(folder.path), "weights": str(folder.best_checkpoint), "best": best.to_dict()})
    else:
        out.print(f"best {metric} {best.metrics[metric]:.1f} in epoch {best.epoch}: {folder.best_checkpoint}")
