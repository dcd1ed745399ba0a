"""Makes the splits of an experiment, and the stream of training batches, from settings."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distune.config.data import FileDataSettings, GeneratedData, ImageSettings, smallest_side
from distune.config.hashing import content_hash
from distune.data.box_forms import stop_if_other_form
from distune.data.check import listing, stop_if_damaged
from distune.data.class_selection import leave_out_other_classes, select_classes
from distune.data.dataset import DetectionDataset
from distune.data.digits import digits_dataset
from distune.data.file_dataset import FileDataset
from distune.data.formats.readers import READERS
from distune.data.generated.generated_dataset import SplitName
from distune.data.image_groups import aspect_ratio_groups, image_repeats
from distune.data.image_scan import scan_images
from distune.data.images import ImageFile
from distune.data.input_images import common_value_range
from distune.data.raw_split import RawSplit
from distune.data.relative_boxes import to_pixels
from distune.data.resolve_images import resolve_images
from distune.data.shapes import shapes_dataset
from distune.data.splits import Splits, fingerprint, hold_out, leave_out_empty, take_share
from distune.data.stream import TrainingStream
from distune.data.transforms import plain_transform, training_transform
from distune.errors import DataError

AnyDataSettings = GeneratedData | FileDataSettings

_GENERATORS: dict[str, tuple[Callable[[Any, SplitName], DetectionDataset], int]] = {
    "shapes": (shapes_dataset.make_shapes, shapes_dataset.GENERATOR_VERSION),
    "digits": (digits_dataset.make_digits, digits_dataset.GENERATOR_VERSION),
}


def build_splits(settings: AnyDataSettings, *, with_masks: bool = False) -> Splits:
    """Read and check the annotations of all splits, and inspect the image files.

    Only images of more than 8 bits are decoded.

    Args:
        settings: of the data.
        with_masks: whether the training split must have masks; boxes without a segmentation are bad then.

    Returns:
        The splits for training, for scoring trials, and for the final test.

    Raises:
        DataError: files are missing, more than 1% of the images or boxes of a split are bad, images have other sizes or
            boxes another form than they should, the classes do not fit the annotations, a split has no boxes, or two
            splits share an image.
    """
    if isinstance(settings, GeneratedData):
        return _generate(settings)
    return _read(settings, with_masks=with_masks)


def build_stream(
    dataset: DetectionDataset,
    settings: ImageSettings,
    *,
    batch_size: int,
    seed: int,
    num_workers: int = 0,
    pin_memory: bool = False,
    with_masks: bool = False,
    squares_px: Sequence[int | None] = (None,),
) -> TrainingStream:
    """Make the stream of training batches.

    Args:
        dataset: the training split.
        settings: of resizing, augmentation and batches.
        batch_size: images per batch.
        seed: of the order and the augmentation.
        num_workers: processes that load images.
        pin_memory: put batches into page-locked memory.
        with_masks: draw the masks of objects.
        squares_px: see ``training_transform``.

    Returns:
        The stream.

    Raises:
        DataError: the data set has no images.
    """
    size = {"min_size_px": settings.min_size_px, "max_size_px": settings.max_size_px}
    augmentation = settings.augmentation
    threshold, factor = settings.repeat_threshold, settings.aspect_ratio_group_factor
    return TrainingStream(
        dataset,
        training_transform=training_transform(
            **size,
            horizontal_flip=augmentation.horizontal_flip,
            vertical_flip=augmentation.vertical_flip,
            color_jitter=augmentation.color_jitter,
            photometric_distortion=augmentation.photometric_distortion,
            zoom_out=augmentation.zoom_out,
            iou_crop=augmentation.iou_crop,
            min_sizes_px=augmentation.min_sizes_px,
            scale_jitter=augmentation.scale_jitter,
            crop_size_px=augmentation.crop_size_px,
            squares_px=squares_px,
        ),
        plain_transform=plain_transform(**size, squares_px=squares_px),
        batch_size=batch_size,
        seed=seed,
        num_workers=num_workers,
        pin_memory=pin_memory,
        with_masks=with_masks,
        repeats_N=None if threshold is None else image_repeats(dataset, threshold=threshold),
        groups_N=None if factor is None else aspect_ratio_groups(dataset, factor=factor),
        draws_sizes=augmentation.draws_sizes,
        squares_px=squares_px,
        copies=augmentation.copies,
    )


def _generate(settings: GeneratedData) -> Splits:
    make, version = _GENERATORS[settings.kind]
    train, search = make(settings, "train"), make(settings, "search")
    test = make(settings, "test") if settings.num_test > 0 else None
    identity = settings.model_dump(mode="json", exclude=set(ImageSettings.model_fields))
    return Splits(
        train=train,
        search=search,
        test=test,
        classes=train.classes,
        fingerprint=content_hash({**identity, "generator_version": version}),
        faults=(),
    )


def _read(settings: FileDataSettings, *, with_masks: bool) -> Splits:
    root = _root(settings.root)
    data = READERS[settings.kind](settings, root, with_masks)
    _stop_if_missing(root, data.splits)
    scan = scan_images(root, {image.file: image.path for split in data.splits.values() for image in split.images})
    raw: dict[str, RawSplit] = {}
    for name, split in data.splits.items():
        smallest_px = smallest_side(settings) if name == "train" else settings.max_size_px
        size = {"min_size_px": min(settings.min_size_px, smallest_px), "max_size_px": smallest_px}
        raw[name] = resolve_images(root, name, split, scan, **size)
        stop_if_other_form(f"{root}, split {name}", raw[name], data.form)
        raw[name] = to_pixels(raw[name]) if data.form.startswith("relative ") else raw[name]
    counts = sum((split.count_classes() for split in raw.values()), Counter[str]())
    classes = select_classes(settings.classes, data.classes, counts, source=str(root))
    left_out = ""
    if settings.classes is not None:
        raw, left_out = leave_out_other_classes(raw, classes)
    value_range = common_value_range(found for found in scan.values() if isinstance(found, ImageFile))
    splits: dict[str, DetectionDataset] = {}
    for name, split in raw.items():
        dataset = FileDataset(name, split, classes, value_range=value_range, with_masks=with_masks and name == "train")
        stop_if_damaged(f"{root}, split {name}", dataset.findings)
        splits[name] = dataset
    notes = [*data.notes, *(note for split in raw.values() for note in split.notes), *([left_out] if left_out else [])]
    if value_range is not None:
        low, high = value_range
        notes.append(f"images of more than 8 bits: pixel values {low:g} to {high:g} of all splits become 0 to 255")
    faults = dict.fromkeys(fault for dataset in splits.values() for fault in dataset.faults)
    shares = {"search": settings.search_share, "test": settings.test_share}
    wanted = {name: share for name, share in shares.items() if name not in splits and share > 0}
    if wanted:
        splits |= hold_out(splits["train"], wanted, seed=settings.split_seed)
    _stop_if_empty(root, splits)
    _stop_if_shared(root, splits)
    if not settings.keep_empty_images:
        splits["train"], without = leave_out_empty(splits["train"])
        notes += without
    if settings.train_share < 1:
        num_images = len(splits["train"])
        splits["train"] = take_share(splits["train"], settings.train_share, seed=settings.split_seed)
        _stop_if_empty(root, {"train": splits["train"]})
        notes.append(f"split train: {len(splits['train'])} of {num_images} images are used (data.train_share)")
    return Splits(
        train=splits["train"],
        search=splits["search"],
        test=splits.get("test"),
        classes=classes,
        fingerprint=fingerprint(splits, classes),
        faults=tuple(faults),
        notes=tuple(notes),
        value_range=value_range,
    )


def _root(given: str | None) -> Path:
    if given is None:
        raise DataError("data.root is missing: give the folder of the images, such as --set data.root=PATH")
    root = Path(given).expanduser()
    if not root.is_dir():
        raise DataError(f"data.root = {given}: there is no such folder; give another with --set data.root=PATH")
    return root


def _stop_if_missing(root: Path, splits: Mapping[str, RawSplit]) -> None:
    missing = list(dict.fromkeys(path for split in splits.values() for path in split.missing))
    if missing:
        count = "1 file or folder is" if len(missing) == 1 else f"{len(missing)} files or folders are"
        raise DataError(
            f"data.root = {root}: {count} missing\n{listing(missing)}\n"
            "Add them, give another folder with --set data.root=PATH, or remove the images from the split. For data in "
            f"another layout, `distune init {root}` writes the settings."
        )


def _stop_if_empty(root: Path, splits: Mapping[str, DetectionDataset]) -> None:
    for name, dataset in splits.items():
        if not any((~dataset.annotations(index).ignored_N).any() for index in range(len(dataset))):
            raise DataError(
                f"{root}, split {name}: no boxes in {len(dataset)} images (crowd and difficult boxes do not count), so "
                "it cannot be used for training or scoring; name another split"
            )


def _stop_if_shared(root: Path, splits: Mapping[str, DetectionDataset]) -> None:
    """Stop when two splits have images of the same content, whatever their names."""
    files: dict[str, dict[str, str]] = {name: {} for name in splits}
    for name, dataset in splits.items():
        for image in map(dataset.annotations, range(len(dataset))):
            files[name].setdefault(image.digest, image.file)
    for one, other in itertools.combinations(files, 2):
        shared = [(files[one][digest], files[other][digest]) for digest in files[one].keys() & files[other].keys()]
        if shared:
            lines = sorted(first if first == second else f"{first} = {second}" for first, second in shared)
            raise DataError(
                f"{root}: {len(shared)} images are both in split {one} and in split {other}, so scores would be "
                f"invalid\n{listing(lines)}\nName splits without common images, and remove copies."
            )
