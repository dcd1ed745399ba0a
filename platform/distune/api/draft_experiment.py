"""Drafts an experiment file for a folder of annotated images."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distune.api.progress import open_callbacks
from distune.config.experiment import NAME_PATTERN
from distune.config.load import load_experiment
from distune.errors import UsageError
from distune.study.callback import StudyCallback
from distune.study.resources import available_gpus

if TYPE_CHECKING:
    from distune.data.data_card import DataCard

_MAX_NAME = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draft:
    """A drafted experiment.

    Attributes:
        name: of the experiment.
        file: the experiment file.
        kind: format of the data, ``data.kind``.
        findings: what was taken for what, a line each.
        doubts: what is unclear or not used, a line each.
        card: what the data contain.
    """

    name: str
    file: Path
    kind: str
    findings: tuple[str, ...]
    doubts: tuple[str, ...]
    card: DataCard


def init(
    folder: str | PathLike[str],
    *,
    name: str | None = None,
    file: str | PathLike[str] | None = None,
    kind: str | None = None,
    from_scratch: bool = False,
    replace: bool = False,
    callbacks: Sequence[StudyCallback] | None = None,
) -> Draft:
    """Recognize the data in a folder and write an experiment file for them.

    The settings follow from measurements of the images and boxes, and from the machine; each has its reason as a
    comment. Nothing is written into the folder.

    Args:
        folder: of the images and annotations.
        name: of the experiment; that of the folder when None.
        file: to write; ``NAME.yaml`` in the working directory when None.
        kind: format to take, where there are several; the one with the most images when None.
        from_scratch: start from random weights instead of ImageNet's, which must be downloaded.
        replace: overwrite the file.
        callbacks: receive messages; None shows them on standard error, an empty list shows nothing.

    Returns:
        The draft.

    Raises:
        DataError: there is no such folder, the format is not known, or the data are damaged.
        UsageError: the file exists, or the name is not valid.
    """
    from distune.data.build import build_splits
    from distune.data.data_card import make_data_card
    from distune.data.recognition.recognize import recognize
    from distune.draft.experiment_text import experiment_text
    from distune.draft.measurements import measure
    from distune.draft.pairs import choose_pair
    from distune.draft.recommend import recommend

    root = Path(folder).expanduser().absolute()
    chosen = _name(root) if name is None else name
    if not NAME_PATTERN.fullmatch(chosen):
        raise UsageError(
            f"name {chosen}: must start with a letter or digit and contain only letters, digits, '_', '.' and '-'"
        )
    path = Path(f"{chosen}.yaml") if file is None else Path(file)
    if path.is_dir() or (path.exists() and not replace):
        raise UsageError(f"{path}: exists already; give another name, or replace it with --replace")
    with open_callbacks(callbacks) as callback:
        found, others = recognize(root, kind=kind)
        callback.on_message(f"data: {found.kind}, {found.num_images} images; reading them")
        data: dict[str, Any] = {"kind": found.kind, "root": str(root), **found.settings}
        splits = build_splits(_file_settings(data))
        has_gpu = available_gpus() > 0
        settings = recommend(measure(splits.train), has_gpu=has_gpu)
        doubts = [*found.doubts, *(f"there are also {each.num_images} images as {each.kind}" for each in others)]
        text = experiment_text(
            name=chosen,
            data=data,
            classes=splits.classes,
            findings=found.findings,
            doubts=doubts,
            pair=choose_pair(has_gpu=has_gpu, from_scratch=from_scratch),
            settings=settings,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        load_experiment(path)  # a draft that is not valid is an error of distune
        card = make_data_card(
            splits, min_size_px=int(settings.min_size_px.value), max_size_px=int(settings.max_size_px.value)
        )
        return Draft(
            name=chosen, file=path, kind=found.kind, findings=tuple(found.findings), doubts=tuple(doubts), card=card
        )


def _file_settings(data: dict[str, Any]) -> Any:
    from pydantic import TypeAdapter

    from distune.config.data import DataSettings

    return TypeAdapter[Any](DataSettings).validate_python(data)


def _name(root: Path) -> str:
    """Return a valid name made from that of a folder."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", root.name).strip("-._").lower()
    return plain[:_MAX_NAME] or "mine"
