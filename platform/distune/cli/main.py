"""The command ``distune``: its verbs, and what happens to errors."""

from __future__ import annotations

import logging
import os
import sys

import click
import typer

from distune.errors import DistuneError


def build_app() -> typer.Typer:
    """The application with all verbs. A new verb is one file and one line here."""
    from distune.cli import doctor, evaluate, launch, status, teacher, train, ui, validate

    app = typer.Typer(
        name="distune",
        help="Hyperparameter studies of detector distillation: Ray Tune schedules, Optuna searches, MLflow keeps.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.command()(validate.validate)
    app.command()(launch.launch)
    app.command()(launch.resume)
    app.command()(status.status)
    app.command()(status.best)
    app.command()(train.train)
    app.command()(teacher.teacher)
    app.command()(evaluate.evaluate)
    app.command()(ui.ui)
    app.command()(doctor.doctor)
    return app


def main() -> None:
    """Run the command line. Exit status 0, 1 (it failed) or 2 (bad usage or a bad file)."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        status = typer.main.get_command(build_app())(standalone_mode=False)
    except DistuneError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_status)
    except click.exceptions.Exit as request:
        sys.exit(request.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("stopped\n")
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
