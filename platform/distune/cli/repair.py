"""``distune repair``: rebuild the records of a study from what its folder holds."""

from __future__ import annotations

from typing import Annotated

import typer

from distune.cli.options import JsonOption, StudyArgument
from distune.cli.output import out, print_json


def repair(
    study: StudyArgument,
    *,
    new_key: Annotated[
        bool,
        typer.Option("--new-key", help="Give the study a key of its own, such as after its home was copied."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Find what is damaged or missing in the records of a study, and repair it. A healthy study is not changed.

    Optuna's records are rebuilt from the trials' own folders, settings from their copies, and what the tracking server
    lacks is sent again. A copied study gets a key of its own. No file of a trial is changed; a damaged file is kept
    under another name. No session may run the study.

    With --new-key, a study gets a key of its own although it is not known to be a copy, such as in a home that was
    copied to another machine and shares a tracking server with the first one.

    Examples:

        distune repair quickstart

        distune repair quickstart --json
    """
    import distune

    result = distune.load_study(study).repair(new_key=new_key)
    if json:
        print_json(result.to_dict())
        return
    for mark, lines in (("found", result.found), ("repaired", result.done), ("not repaired", result.left)):
        for line in lines:
            out.print(f"{mark}: {line}")
    if not (result.found or result.done or result.left):
        out.print(f"study {study}: nothing to repair")
