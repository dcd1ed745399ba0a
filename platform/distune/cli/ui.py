"""``distune ui``: open a study in the MLflow UI."""

from __future__ import annotations

import contextlib
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

    The server ends with this command, whatever ends it. For a study that is tracked on an MLflow server, only the
    addresses are printed.

    Example: `distune ui quickstart`
    """
    import distune

    handle = distune.load_study(study)
    opened = handle.mlflow_ui(host=host, port=port, on_message=progress.print)
    with opened as (links, server):
        out.print(f"charts of trials: {links.charts}")
        out.print(f"table of trials:  {links.runs}")
        if links.compare is not None:
            out.print(f"side by side:     {links.compare}")
        if links.study is not None:
            out.print(f"run of the study: {links.study}")
        if server is not None:
            out.print("serving until Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()
