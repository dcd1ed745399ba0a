"""From settings to splits: to train on, to score trials on, and to score only confirmed students on."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from distune.config.data import CocoData, CocoSplitSettings, ShapesData, VocData
from distune.config.hashing import content_hash
from distune.data.check import is_too_many, listing, stop_if_damaged
from distune.data.dataset import DetectionDataset
from distune.data.files import FileDataset, RawSplit
from distune.data.formats import coco, voc
from distune.data.shapes import GENERATOR_VERSION, ShapesDataset
from distune.data.splits import Splits, fingerprint, hold_out
from distune.errors import DataError

AnyDataSettings = ShapesData | VocData | CocoData


def build_splits(settings: AnyDataSettings, *, with_masks: bool = False) -> Splits:
    """Read and check the annotations of all splits. No image is decoded.

    Args:
        settings: where the data is.
        with_masks: whether the training split must offer masks; boxes without an outline are bad then.

    Raises:
        DataError: files are missing, more than 1% of the images or boxes of a split are bad, the classes do not fit the
            annotations, a split holds no boxes, or two splits hold the same image.
    """
    if isinstance(settings, ShapesData):
        return _build_shapes(settings)
    root = _root(settings)
    raws, categories = (
        _read_voc(root, settings) if isinstance(settings, VocData) else _read_coco(root, settings, with_masks)
    )
    _stop_if_missing(root, raws)
    counts = sum((raw.count_classes() for raw in raws.values()), Counter[str]())
    classes = tuple(categories.values())
    if isinstance(settings, VocData):
        classes = tuple(settings.classes or sorted(name for name in counts if name))
    check_classes(classes, counts, source=str(root))
    datasets: dict[str, FileDataset] = {}
    for name, raw in raws.items():
        datasets[name] = FileDataset(
            name, raw, classes, category_ids=tuple(categories) or None, with_masks=with_masks and name == "train"
        )
        stop_if_damaged(f"{root}, split {name}", datasets[name].findings)
    faults = dict.fromkeys(fault for dataset in datasets.values() for fault in dataset.faults)
    splits: dict[str, DetectionDataset] = {**datasets}
    if "search" not in splits:
        splits["train"], splits["search"] = hold_out(splits["train"], share=settings.search_share)
    _stop_if_empty(root, splits)
    _stop_if_shared(root, splits)
    return Splits(
        train=splits["train"],
        search=splits["search"],
        test=splits.get("test"),
        classes=classes,
        fingerprint=fingerprint(splits, classes),
        faults=tuple(faults),
    )


def check_classes(classes: Sequence[str], counts: Mapping[str, int], *, source: str) -> None:
    """Raise ``DataError`` when a class list does not fit the classes that annotations name.

    It does not when more than 1% of the boxes are of other classes, or when boxes of other classes go with listed
    classes that have no box, which is how a misspelt name looks. Listed classes without boxes are fine otherwise.

    Args:
        classes: the class list.
        counts: boxes of each class that the annotations name; ``""`` counts those without a class.
        source: the data, for the message.
    """
    unknown = {name: count for name, count in counts.items() if name not in classes}
    unused = [name for name in classes if not counts.get(name)]
    num_unknown = sum(unknown.values())
    if (any(unknown) and unused) or is_too_many(num_unknown, sum(counts.values())):
        named = ", ".join(f"{name or 'no known class'} ({count})" for name, count in sorted(counts.items()))
        raise DataError(
            f"{source}: the list of classes does not fit the annotations\n  listed:    {', '.join(classes)}\n"
            f"  annotated: {named}\nList every class that the annotations name, or take the others out of them."
        )


def _build_shapes(settings: ShapesData) -> Splits:
    train, search = ShapesDataset(settings, "train"), ShapesDataset(settings, "search")
    test = ShapesDataset(settings, "test") if settings.num_test > 0 else None
    matters = settings.model_dump(mode="json", exclude={"min_size_px", "max_size_px", "augmentation"})
    return Splits(
        train=train,
        search=search,
        test=test,
        classes=train.classes,
        fingerprint=content_hash({**matters, "generator_version": GENERATOR_VERSION}),
        faults=(),
    )


def _root(settings: VocData | CocoData) -> Path:
    if settings.root is None:
        raise DataError("data.root is missing: say where the images are, such as --set data.root=PATH")
    root = Path(settings.root).expanduser()
    if not root.is_dir():
        raise DataError(f"data.root = {settings.root}: there is no such folder; give another with --set data.root=PATH")
    return root


def _read_voc(root: Path, settings: VocData) -> tuple[dict[str, RawSplit], coco.Categories]:
    sets = {"train": settings.train_set, "search": settings.search_set, "test": settings.test_set}
    return {name: voc.read_split(root, lists) for name, lists in sets.items() if lists is not None}, {}


def _read_coco(root: Path, settings: CocoData, with_masks: bool) -> tuple[dict[str, RawSplit], coco.Categories]:
    parts: dict[str, CocoSplitSettings | None] = {
        "train": settings.train,
        "search": settings.search,
        "test": settings.test,
    }
    read = {
        name: coco.read_split(root, part.images, part.annotations, with_masks=with_masks and name == "train")
        for name, part in parts.items()
        if part is not None
    }
    return {name: raw for name, (raw, _) in read.items()}, read["train"][1]


def _stop_if_missing(root: Path, raws: Mapping[str, RawSplit]) -> None:
    missing = list(dict.fromkeys(place for raw in raws.values() for place in raw.missing))
    if missing:
        count = "1 file or folder is" if len(missing) == 1 else f"{len(missing)} files or folders are"
        raise DataError(
            f"data.root = {root}: {count} missing\n{listing(missing)}\n"
            "Put them there, name another folder with --set data.root=PATH, or take the images out of the split."
        )


def _stop_if_empty(root: Path, splits: Mapping[str, DetectionDataset]) -> None:
    for name, dataset in splits.items():
        if not any((~dataset.annotations(index).ignored_N).any() for index in range(len(dataset))):
            raise DataError(
                f"{root}, split {name}: no boxes at all in {len(dataset)} images (crowd and difficult ones do not "
                "count), so nothing can be learnt from it or scored on it; name another split"
            )


def _stop_if_shared(root: Path, splits: Mapping[str, DetectionDataset]) -> None:
    files = {
        name: {dataset.annotations(index).file for index in range(len(dataset))} for name, dataset in splits.items()
    }
    for one, other in itertools.combinations(files, 2):
        shared = sorted(files[one] & files[other])
        if shared:
            raise DataError(
                f"{root}: {len(shared)} images are in split {one} and in split {other}, so scores would mean nothing\n"
                f"{listing(shared)}\nName splits without common images."
            )
