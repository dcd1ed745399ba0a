"""``distune export``: write a detector of a study as files that run without distune."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from distune.cli.completion import complete_study
from distune.cli.options import JsonOption, SplitName
from distune.cli.output import out, print_json

if TYPE_CHECKING:
    from distune.api.export_student import Export
    from distune.tracking.logged_student import LoggedStudent


class FormatOption(StrEnum):
    """The format of the files."""

    torchvision = "torchvision"
    onnx = "onnx"


def export(
    student: Annotated[
        str,
        typer.Argument(
            metavar="STUDY[/TRIAL]",
            help="Name of a study, and a trial such as 7, control, control-1, or teacher. Default: the confirmed "
            "student, before a confirmation that of the best trial.",
            show_default=False,
            autocompletion=complete_study,
        ),
    ],
    *,
    format: Annotated[  # noqa: A002
        FormatOption, typer.Option("--format", help="Format of the files; onnx needs the extra: distune[export].")
    ] = FormatOption.torchvision,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Folder for the files. Default: exports/TRIAL-FORMAT in the study's folder.",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an export in this folder.")] = False,
    split: Annotated[
        SplitName, typer.Option(help="The split on which file and detector are compared.")
    ] = SplitName.search,
    images: Annotated[int, typer.Option(help="Compare on the first images of the split, at most this number.")] = 500,
    license: Annotated[  # noqa: A002
        str | None,
        typer.Option("--license", help="License for the model card, such as apache-2.0.", show_default=False),
    ] = None,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Also log the student to MLflow as a model, at the run of its trial.")
    ] = False,
    register: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Also register this model under a name in MLflow.", show_default=False),
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option(metavar="ALIAS", help="Alias of the registered version, such as champion.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a detector of a study as files that run without distune, with a model card.

    torchvision: student.pt, a plain state dict, and load_student.py, which builds the detector with torchvision alone.

    onnx: student.onnx, a graph from one image of any size to its detections, and run_onnx.py, which runs it. Resizing,
    normalization and suppression are in the graph. It takes one image at a time.

    The file is run on images of the study beside the detector. If the APs differ by more than 0.1 points, or more than
    2% of the detections are not found again, nothing is exported and the exit status is 1. --split test is recorded as
    an evaluation on the test split.

    Examples:

        distune export quickstart

        distune export quickstart/7 --format onnx --output chess_detector

        distune export quickstart/teacher --format onnx --replace

        distune export quickstart --register digits --alias champion
    """
    import distune
    from distune.api.log_student import check_model_options
    from distune.api.study_models import split_student_name

    study, trial = split_student_name(student)
    handle = distune.load_study(study)
    to_mlflow = mlflow or register is not None or alias is not None
    if to_mlflow:
        check_model_options(format.value, register=register, alias=alias)
    result = handle.export(
        format.value,
        trial,
        output,
        replace=replace,
        split=split.value,
        max_images=images,
        license=license,
    )
    logged = None
    if to_mlflow:
        logged = handle.log_model(result, register=register, alias=alias)
    if json:
        in_mlflow = {} if logged is None else {"mlflow": dataclasses.asdict(logged)}
        print_json({"study": study, **result.to_dict(), **in_mlflow})
        return
    _print(study, result)
    if logged is not None:
        _print_logged(logged)


def _print(study: str, result: Export) -> None:
    parity = result.parity
    out.print(
        f"study {study}, {'' if result.name == 'teacher' else 'trial '}{result.name}, format {result.format}: "
        f"{parity.num_images} images of the {result.split} split, CPU, threads: {parity.num_threads}"
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, name in enumerate(("", "AP", "detections", "latency", "weights")):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    aps = ["-" if each is None else f"{each:.2f}" for each in (parity.ap, parity.exported_ap)]
    sizes = [f"{each / 1e6:.2f} MB" for each in result.file_bytes]
    table.add_row("trained", aps[0], str(parity.num_detections), f"{parity.latency_ms:.1f} ms", sizes[0])
    table.add_row("exported", aps[1], str(parity.num_found), f"{parity.exported_latency_ms:.1f} ms", sizes[1])
    out.print(table)
    if parity.ap_difference is not None:
        out.print(f"difference: {parity.ap_difference:+.2f} AP; at most 0.1 is allowed")
    for name, text in result.notes.items():
        out.print(f"{name}: {text}")
    previous = result.previous_test_evaluations
    if previous is not None:
        others = {0: "no other evaluation", 1: "1 other evaluation"}.get(previous, f"{previous} other evaluations")
        out.print(f"test split: {others} on record in this study; this one is recorded")
    out.print(f"exported: {result.folder}")
    out.print(f"  {', '.join(result.files)}")


def _print_logged(logged: LoggedStudent) -> None:
    out.print(f"MLflow: {logged.uri}, at run {logged.run_id}")
    if logged.registered is not None:
        alias = "" if logged.alias is None else f", alias {logged.alias}"
        out.print(f"registered: models:/{logged.registered}{alias}")
