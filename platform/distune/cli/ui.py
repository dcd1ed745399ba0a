"""``distune ui``: open a study in the MLflow UI."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Annotated

import typer

from distune.cli.options import StudyArgument
from distune.cli.output import out, progress


def ui(
    study: StudyArgument,
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Anyone who reaches it can change runs.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 5000,
) -> None:
    """Open a study in the MLflow UI: print the addresses of its pages, and serve until Ctrl-C.

    SIGTERM ends the server as well. For a study that is tracked on an MLflow server, only the addresses are printed.

    Example: `distune ui quickstart`
    """
    import distune

    handle = distune.load_study(study)
    opened = handle.mlflow_ui(host=host, port=port, on_message=progress.print)
    with _interrupted_by_signals(), opened as (links, server):
        out.print(f"charts of trials: {links.charts}")
        out.print(f"table of trials:  {links.runs}")
        out.print(f"side by side:     {links.compare}")
        if links.study is not None:
            out.print(f"run of the study: {links.study}")
        if server is not None:
            out.print("serving until Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP as Ctrl-C, so that the server ends with this process. A second signal has no effect."""

    def interrupt(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = (signal.SIGTERM, signal.SIGHUP)
    former = [signal.signal(number, interrupt) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, former, strict=True):
            signal.signal(number, handler)
