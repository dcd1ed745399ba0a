"""The program ``distune``: its commands, and the handling of errors."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import Annotated

import typer

from distune.cli import (
    compare,
    confirm,
    doctor,
    evaluate,
    explain,
    export,
    init,
    launch,
    predict,
    repair,
    report,
    status,
    teacher,
    train,
    ui,
    validate,
)
from distune.cli.command_class import Command, Group
from distune.cli.interruption import interrupted_by_signals
from distune.errors import DistuneError
from distune.reports.console import flush_output
from distune.study.runners.ray_servers import RayLostError, end_ray_processes
from distune.tracking.uris import redact_uri
from distune.version import VERSION


class SecretFreeFormatter(logging.Formatter):
    """Keeps users, passwords and tokens of addresses out of the log, whichever library writes it."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the line, its traceback included."""
        return redact_uri(super().format(record))


def build_app() -> typer.Typer:
    """Build the application. A new command is one file and one line here."""
    app = typer.Typer(
        name="distune",
        cls=Group,
        help="Hyperparameter search for the distillation of object detectors, with Optuna, Ray Tune and MLflow.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    app.command(cls=Command)(init.init)
    app.command(cls=Command)(validate.validate)
    app.command(cls=Command)(launch.launch)
    app.command(cls=Command)(launch.resume)
    app.command(cls=Command)(repair.repair)
    app.command(cls=Command)(confirm.confirm)
    app.command(cls=Command)(explain.explain)
    app.command(cls=Command)(status.status)
    app.command(cls=Command)(status.best)
    app.command(cls=Command)(report.report)
    app.command(cls=Command)(compare.compare)
    app.command(cls=Command)(train.train)
    app.command(cls=Command)(teacher.teacher)
    app.command(cls=Command)(evaluate.evaluate)
    app.command(cls=Command)(predict.predict)
    app.command(cls=Command)(export.export)
    app.command(cls=Command)(ui.ui)
    app.command(cls=Command)(doctor.doctor)
    return app


def _print_version(is_asked: bool) -> None:
    if is_asked:
        sys.stdout.write(f"distune {VERSION}\n")
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that come before a command."""


def main() -> None:
    """Run the command line. Exit status 0, 1 (it failed) or 2 (bad usage or a bad file)."""
    handler = logging.StreamHandler()
    handler.setFormatter(SecretFreeFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with interrupted_by_signals():
            build_app()(prog_name="distune")  # ends by SystemExit; bad usage is said and gives 2
    except DistuneError as error:
        with contextlib.suppress(OSError):  # without a reader
            sys.stderr.write(f"error: {redact_uri(str(error))}\n")
        if isinstance(error.__cause__, RayLostError):  # Ray would wait for its servers
            flush_output()
            end_ray_processes()
            os._exit(error.exit_status)
        sys.exit(error.exit_status)
    except OSError as error:
        if not isinstance(error.filename, str | os.PathLike):
            raise  # no file of the user
        sys.stderr.write(f"error: {redact_uri(str(error.filename))}: {error.strerror}\n")
        sys.exit(1)
    finally:
        flush_output()
