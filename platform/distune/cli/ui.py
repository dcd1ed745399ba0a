"""``distune ui``: open a study in the MLflow UI."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from distune.cli.options import StudyArgument
from distune.cli.output import out
from distune.config.home import Home
from distune.errors import StudyError
from distune.study.status import find_study
from distune.tracking.links import StudyLinks
from distune.tracking.server import start_ui, study_links, ui_address
from distune.tracking.uris import is_server


def ui(
    study: StudyArgument,
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Anyone who reaches it can change runs.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 5000,
) -> None:
    """Open a study in the MLflow UI: prints its pages, and serves until Ctrl-C.

    A study that is tracked on a server of its own needs none: then only the addresses are printed.

    Example: `distune ui quickstart`
    """
    home = Home.from_environment()
    folder = find_study(home, study)
    experiment = folder.load().experiment
    if not experiment.tracking.enabled:
        raise StudyError(f"study {study}: its experiment has tracking.enabled = false, so there is nothing to open")
    uri = experiment.tracking.uri or home.tracking_uri
    name = experiment.tracking.experiment or experiment.name
    key, metric = folder.identity().tracking_key, folder.identity().metric
    if is_server(uri):
        _print(study_links(uri, base_url=ui_address(uri), experiment=name, study_key=key, metric=metric))
        return
    with start_ui(uri, artifacts=home.artifacts, host=host, port=port) as server:
        _print(study_links(uri, base_url=server.url, experiment=name, study_key=key, metric=metric))
        out.print("serving until Ctrl-C")
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()


def _print(links: StudyLinks) -> None:
    out.print(f"trials side by side:  {links.compare}", markup=False)
    out.print(f"learning curves:      {links.charts}", markup=False)
    out.print(f"table of runs:        {links.runs}", markup=False)
    if links.study is not None:
        out.print(f"the study's report:   {links.study}", markup=False)
