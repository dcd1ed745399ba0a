"""The same images, boxes and splits are read from all layouts that are recognized."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from distune.config.data import FileDataSettings
from distune.data.build import build_splits
from distune.data.dataset import DetectionDataset
from distune.data.formats.readers import READERS
from distune.data.recognition.recognize import RECOGNIZERS, recognize
from distune.data.splits import Splits
from distune.errors import DataError
from support.datasets import write_image
from support.layouts import CLASSES, LAYOUTS, WITHOUT_SPLITS, Scene, make_scenes

SCENES = make_scenes({"train": 12, "val": 5, "test": 4})


def read(folder: Path, **changes: object) -> Splits:
    found, _ = recognize(folder)
    settings = TypeAdapter[FileDataSettings](FileDataSettings).validate_python(
        {"kind": found.kind, "root": str(folder), **found.settings, **changes}
    )
    return build_splits(settings)


def content(dataset: DetectionDataset) -> dict[str, list[tuple[str, list[int]]]]:
    images = map(dataset.annotations, range(len(dataset)))
    return {
        Path(image.file).stem: [
            (dataset.classes[label - 1], [round(value) for value in box])
            for box, label in zip(image.boxes_N4.tolist(), image.labels_N.tolist(), strict=True)
        ]
        for image in images
    }


def expected(scenes: list[Scene]) -> dict[str, list[tuple[str, list[int]]]]:
    return {scene.stem: [(name, list(box)) for name, box in scene.boxes] for scene in scenes}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_recognized_and_read(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path, SCENES)
    splits = read(tmp_path)
    assert set(splits.classes) == set(CLASSES)
    assert splits.faults == ()
    assert splits.test is not None
    parts = {"train": content(splits.train), "val": content(splits.search), "test": content(splits.test)}
    if layout in WITHOUT_SPLITS:
        assert {name: boxes for part in parts.values() for name, boxes in part.items()} == expected(SCENES)
        assert [len(part) for part in parts.values()] == [13, 4, 4]
    else:
        for split, part in parts.items():
            assert part == expected([scene for scene in SCENES if scene.split == split])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_classes_restrict_and_order_all_formats(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path, SCENES)
    splits = read(tmp_path, classes=["emu", "cat"])
    assert splits.classes == ("emu", "cat")
    every = {**content(splits.train), **content(splits.search), **content(splits.test or splits.search)}
    assert every == {name: [each for each in boxes if each[0] != "dog"] for name, boxes in expected(SCENES).items()}
    assert any("not list are left out: dog (" in note for note in splits.notes)


@pytest.mark.parametrize("layout", WITHOUT_SPLITS)
def test_copies_are_not_divided_by_held_out_splits(layout: str, tmp_path: Path) -> None:
    twice = [scene for scene in SCENES for _ in range(2)]
    copies = [_Copy(f"{scene.stem}_{number}", scene.split, scene.boxes) for number, scene in enumerate(twice)]
    LAYOUTS[layout](tmp_path, copies)
    splits = read(tmp_path)
    for dataset in (splits.train, splits.search, splits.test or splits.search):
        digests = [dataset.annotations(index).digest for index in range(len(dataset))]
        assert all(digests.count(digest) == 2 for digest in digests)


class _Copy(Scene):
    """An image that has the pixels of another one."""

    @property
    def pixels(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return Scene(self.stem.rpartition("_")[0], self.split, self.boxes).pixels


def test_each_format_is_recognized() -> None:
    assert RECOGNIZERS.keys() == READERS.keys()


def test_the_format_with_the_most_images_counts_unless_one_is_asked_for(tmp_path: Path) -> None:
    LAYOUTS["coco_single"](tmp_path, SCENES)
    LAYOUTS["yolo_flat"](tmp_path / "sample", SCENES[:6])
    best, others = recognize(tmp_path)
    assert (best.kind, [other.kind for other in others]) == ("coco", ["yolo"])
    assert recognize(tmp_path, kind="yolo")[0].kind == "yolo"


def test_folders_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        recognize(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a file; give the folder"):
        recognize(Path(__file__))
    with pytest.raises(DataError, match="has no images"):
        recognize(tmp_path)
    LAYOUTS["yolo_flat"](tmp_path, SCENES[:3])
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"no names of the classes: put a file classes\.txt"):
        recognize(tmp_path)
    for label in tmp_path.glob("*.txt"):
        label.write_text("not a label\n")
    with pytest.raises(DataError, match=r"has 3 images, but no annotations in a known format \(3 \.txt files\)"):
        recognize(tmp_path)


def test_annotations_whose_images_are_elsewhere_say_so(tmp_path: Path) -> None:
    for layout, message in (("coco_single", "are not below"), ("cvat", "are not below"), ("label_studio", "no images")):
        folder = tmp_path / layout
        LAYOUTS[layout](folder, SCENES[:3])
        for image in folder.rglob("*.png"):
            image.unlink()
        with pytest.raises(DataError, match=message):
            recognize(folder)


def test_two_images_with_one_file_of_labels_are_refused(tmp_path: Path) -> None:
    LAYOUTS["yolo"](tmp_path, SCENES)
    image = next((tmp_path / "images" / "train").glob("*.png"))
    write_image(image.with_suffix(".jpg"), SCENES[0].pixels)
    with pytest.raises(
        DataError, match=r"1 files of labels could be for several images\n  images/train/train_\d+\.jpg, "
    ):
        read(tmp_path)


def test_images_of_cvat_with_different_names_are_not_one_file(tmp_path: Path) -> None:
    LAYOUTS["cvat_without_subsets"](tmp_path, SCENES)
    (file,) = tmp_path.glob("*.xml")
    first, second = (f"{scene.stem}.png" for scene in SCENES[:2])
    text = file.read_text()
    file.write_text(text.replace(f'name="{second}"', f'name="{first}"'))
    assert any("several entries, which were joined" in note for note in read(tmp_path).notes), "the same name"
    renamed = text.replace(f'name="{first}"', f'name="day1/{first}"').replace(
        f'name="{second}"', f'name="day2/{first}"'
    )
    file.write_text(renamed)
    with pytest.raises(
        DataError, match=rf"the entries day1/{first} and day2/{first} have .* found as the file images/{first}"
    ):
        read(tmp_path)


@pytest.mark.parametrize("layout", ["label_studio", "label_studio_minimal"])
def test_tasks_of_label_studio_with_different_names_are_not_one_image(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path, SCENES)
    (file,) = tmp_path.glob("*.json")
    tasks = json.loads(file.read_text())

    def write(first: str, second: str) -> None:
        for task, address in zip(tasks, (first, second), strict=False):
            task.get("data", task)["image"] = address
        file.write_text(json.dumps(tasks))

    image = f"{SCENES[0].stem}.png"
    write(f"https://host/{image}?signature=1", f"https://host/{image}?signature=2")
    assert any("several entries, which were joined" in note for note in read(tmp_path).notes), "the same image"
    for one, other in ((f"/data/11111111-{image}", f"/data/22222222-{image}"), (f"s3://a/{image}", f"s3://b/{image}")):
        write(one, other)
        with pytest.raises(
            DataError, match=rf"the entries \S*{image} and \S*{image} have different names.*{image}, so"
        ):
            read(tmp_path)


@pytest.mark.parametrize(
    ("shape", "keypoints"), [("[2, 2]", ".45 .45 .55 .55"), ("[1, 2]", ".9 .9"), ("[1, 3]", ".9 .9 2"), ("[2, 2]", "")]
)
def test_keypoints_of_poses_are_not_corners_of_polygons(shape: str, keypoints: str, tmp_path: Path) -> None:
    LAYOUTS["yolo"](tmp_path, SCENES)
    add_keypoints(tmp_path, shape, keypoints)
    box = read(tmp_path).train.annotations(0).boxes_N4 / np.array([80, 60, 80, 60])
    assert np.allclose(box, [[0.4, 0.4, 0.6, 0.6]])


def test_poses_that_do_not_fit_kpt_shape_are_named(tmp_path: Path) -> None:
    LAYOUTS["yolo"](tmp_path, SCENES)
    add_keypoints(tmp_path, "[2, 2]", ".45 .45")
    with pytest.raises(DataError, match="line 1 has 7 numbers; a box has 5, and a pose of kpt_shape 9"):
        read(tmp_path)
    add_keypoints(tmp_path, "17", "")
    with pytest.raises(DataError, match="kpt_shape = 17 must be"):
        read(tmp_path)


def add_keypoints(folder: Path, shape: str, keypoints: str) -> None:
    """Replace all labels by a box, with keypoints behind it."""
    (names,) = folder.glob("*.yaml")
    lines = [line for line in names.read_text().splitlines() if not line.startswith("kpt_shape")]
    names.write_text("\n".join([*lines, f"kpt_shape: {shape}", ""]))
    for file in (folder / "labels").rglob("*.txt"):
        file.write_text(f"0 .5 .5 .2 .2 {keypoints}\n")
