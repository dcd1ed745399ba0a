"""``distune predict``: run a student of a study on images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distune.cli.completion import complete_study
from distune.cli.options import JsonOption
from distune.cli.output import out, print_json, progress

if TYPE_CHECKING:
    from distune.api.prediction import Predictions

_MAX_SHOWN = 10


def predict(
    student: Annotated[
        str,
        typer.Argument(
            metavar="STUDY[/TRIAL]",
            help="A study, or one of its trials such as quickstart/7, quickstart/control or quickstart/teacher. "
            "Default: the confirmed trial, before a confirmation the best one.",
            show_default=False,
            autocompletion=complete_study,
        ),
    ],
    images: Annotated[
        list[Path], typer.Argument(help="Images, and folders of images with their subfolders.", show_default=False)
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the results. Default: predictions/STUDY-TRIAL.", show_default=False),
    ] = None,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Leave out boxes with a lower score.")] = 0.3,
    teacher: Annotated[bool, typer.Option("--teacher", help="Draw the teacher beside the student.")] = False,
    control: Annotated[bool, typer.Option("--control", help="Draw the control beside the student.")] = False,
    pictures: Annotated[bool, typer.Option(help="Write a picture for each image.")] = True,
    json: JsonOption = False,
) -> None:
    """Run a student of a study on images; write its boxes as COCO JSON, and pictures that show them.

    The boxes are in pixels of the image as viewers show it: turned as its EXIF orientation says. Most detectors give
    no boxes with a score below 0.05 (FCOS 0.2), whatever --min-score says.

    Images that cannot be read are named, and the exit status is 1.

    Examples:

        distune predict quickstart photos/

        distune predict quickstart/3 one.jpg two.jpg --teacher --control

        distune predict quickstart photos/ --min-score 0.05 --no-pictures --output boxes
    """
    from rich.progress import Progress

    import distune
    from distune.api.study_models import split_student_name

    name, trial = split_student_name(student)
    beside = [label for label, is_wanted in (("teacher", teacher), ("control", control)) if is_wanted]
    study = distune.load_study(name)
    with Progress(console=progress, transient=True, disable=not progress.is_terminal) as bar:
        task = bar.add_task("images")
        result = study.predict(
            images,
            trial,
            output=output,
            min_score=min_score,
            beside=beside,
            pictures=pictures,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if json:
        print_json(
            {
                "file": str(result.file),
                "pictures": None if result.pictures is None else str(result.pictures),
                "num_images": result.num_images,
                "num_boxes": result.num_boxes,
                "unreadable": {str(file): problem for file, problem in result.unreadable.items()},
            }
        )
    else:
        _print(result)
    if result.unreadable:
        raise typer.Exit(1)


def _print(result: Predictions) -> None:
    num_boxes, num_images = result.num_boxes, result.num_images
    boxes, images = f"{num_boxes} box{'es' * (num_boxes != 1)}", f"{num_images} image{'s' * (num_images != 1)}"
    out.print(f"{boxes} on {images}: {result.file}")
    if result.pictures is not None:
        out.print(f"pictures: {result.pictures}")
    for file, problem in list(result.unreadable.items())[:_MAX_SHOWN]:
        out.print(f"not read: {file}: {problem}", style="red")
    if len(result.unreadable) > _MAX_SHOWN:
        out.print(f"not read: {len(result.unreadable) - _MAX_SHOWN} more", style="red")
