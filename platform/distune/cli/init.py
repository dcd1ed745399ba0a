"""``distune init``: draft an experiment file for a folder of annotated images."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from distune.cli.options import JsonOption
from distune.cli.output import out, print_data_card, print_json


class DataKind(StrEnum):
    """The format of the data."""

    coco = "coco"
    voc = "voc"
    yolo = "yolo"
    cvat = "cvat"
    label_studio = "label_studio"


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of images and annotations.", show_default=False)],
    *,
    name: Annotated[str | None, typer.Option(help="Name of the experiment. Default: that of the folder.")] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="File to write. Default: NAME.yaml in the working directory.")
    ] = None,
    kind: Annotated[
        DataKind | None, typer.Option(help="Format to take. Default: the one with the most images.")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Start from random weights. Without it, ImageNet's are downloaded.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite the file.")] = False,
    json: JsonOption = False,
) -> None:
    """Recognize annotated images in a folder and write an experiment file for them.

    Recognized are COCO's JSON, Pascal VOC with and without lists, LabelImg, YOLO, CVAT and Label Studio, also as
    annotation services export them. Missing splits are held out of the training images. Image size,
    anchors, batch size and epochs follow from the images and the machine; the file gives the reasons. Nothing is
    written into the folder.

    Examples:

        distune init photos --name mine

        distune init photos --kind yolo --from-scratch
    """
    import distune

    draft = distune.init(
        folder,
        name=name,
        file=out_file,
        kind=None if kind is None else kind.value,
        from_scratch=from_scratch,
        replace=replace,
    )
    if json:
        print_json(
            {
                "file": str(draft.file),
                "kind": draft.kind,
                "findings": draft.findings,
                "doubts": draft.doubts,
                "data": draft.card.to_dict(),
            }
        )
        return
    for finding in draft.findings:
        out.print(f"found: {finding}")
    for doubt in draft.doubts:
        out.print(f"not sure: {doubt}", style="yellow")
    print_data_card(draft.card)
    out.print(f"written: {draft.file}")
    out.print(f"next: distune validate {draft.file} --pictures pictures    distune launch {draft.file} --simulate")
