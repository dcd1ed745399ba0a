"""Predictions of a student on images in files: the JSON, the pictures, and images that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

import distune
from distune.data.images import read_image
from distune.errors import DataError, StudyError, UsageError
from support.trained_study import NAME

pytestmark = pytest.mark.slow


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "wide.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels).save(folder / "more" / "wide.jpg", exif=turned)
    (folder / "notes.txt").write_text("no image")
    return folder


def test_boxes_are_those_of_the_model(trained_home: Path, images: Path) -> None:
    study = distune.load_study(NAME)
    result = study.predict([images], min_score=0.0, callbacks=[])
    assert result.file == Path("predictions") / f"{NAME}-{study.best_trial.key}" / "predictions.json"
    content = json.loads(result.file.read_text())
    assert [image["file_name"] for image in content["images"]] == [
        str(images / "more" / "wide.jpg"),
        str(images / "wide.png"),
    ]
    assert [(image["width"], image["height"]) for image in content["images"]] == [(48, 80), (80, 48)]
    assert result.num_boxes == len(content["annotations"]) > 0
    with torch.inference_mode():
        pixels = read_image(images / "wide.png", file="wide.png")
        expected = study.best_model()([pixels / 255])[0]
    found = [each for each in content["annotations"] if each["image_id"] == 2]
    boxes = torch.tensor([each["bbox"] for each in found])
    boxes[:, 2:] += boxes[:, :2]
    order = expected["scores"].argsort(descending=True)
    assert torch.allclose(boxes, expected["boxes"][order], atol=0.02)
    assert [each["category_id"] for each in found] == expected["labels"][order].tolist()
    assert COCO(str(result.file)).loadRes(content["annotations"]).getAnnIds() == [
        each["id"] for each in content["annotations"]
    ]


def test_weak_boxes_are_left_out(trained_home: Path, images: Path) -> None:
    study = distune.load_study(NAME)
    scores = [
        each["score"]
        for each in json.loads(study.predict([images], min_score=0.0, callbacks=[]).file.read_text())["annotations"]
    ]
    middle = float(np.median(scores))
    result = study.predict([images], min_score=middle, pictures=False, output="other", callbacks=[])
    kept = [each["score"] for each in json.loads(result.file.read_text())["annotations"]]
    assert len(kept) == pytest.approx(sum(score >= middle for score in scores), abs=1)
    assert min(kept) >= middle - 1e-5
    assert result.pictures is None


def test_pictures_show_the_models_side_by_side(trained_home: Path, images: Path) -> None:
    study = distune.load_study(NAME)
    one = study.predict([images / "wide.png"], output="one", callbacks=[])
    three = study.predict([images / "wide.png"], 0, output="three", beside=["teacher", "control"], callbacks=[])
    assert one.pictures is not None
    assert three.pictures is not None
    with Image.open(one.pictures / "wide.jpg") as first, Image.open(three.pictures / "wide.jpg") as second:
        assert first.width == 80
        assert second.width == 3 * 80 + 2 * 8
    same_names = study.predict([images], output="two", callbacks=[])
    assert same_names.pictures is not None
    assert sorted(file.name for file in same_names.pictures.iterdir()) == ["wide.jpg", "wide_2.jpg"]


def test_images_that_cannot_be_read_are_named(trained_home: Path, images: Path) -> None:
    study = distune.load_study(NAME)
    (images / "broken.png").write_bytes((images / "wide.png").read_bytes()[:300])
    (images / "text.png").write_text("no image")
    result = study.predict([images], callbacks=[])
    assert sorted(file.name for file in result.unreadable) == ["broken.png", "text.png"]
    assert result.num_images == 2
    with pytest.raises(DataError, match=r"none of the images can be read; .*text.png: cannot be decoded"):
        study.predict([images / "text.png"], callbacks=[])
    with pytest.raises(DataError, match=r"none of the images can be read; .*broken.png: cannot be decoded"):
        study.predict([images / "broken.png"], output="nothing", callbacks=[])
    assert not Path("nothing").exists()


def test_wrong_arguments_are_refused(trained_home: Path, images: Path, tmp_path: Path) -> None:
    study = distune.load_study(NAME)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"gone.jpg: there is no such file or folder"):
        study.predict(["gone.jpg"], callbacks=[])
    with pytest.raises(UsageError, match=r"empty: there is no image in this folder"):
        study.predict([tmp_path / "empty"], callbacks=[])
    with pytest.raises(UsageError, match=r"min_score = 3: must be between 0 and 1"):
        study.predict([images], min_score=3, callbacks=[])
    with pytest.raises(UsageError, match="beside = student: must be teacher, control, or both"):
        study.predict([images], beside=["student"], callbacks=[])
    with pytest.raises(StudyError, match="there is no trial 99"):
        study.predict([images], 99, callbacks=[])


def test_gray_images_of_16_bits_get_the_range_of_the_training_data_or_their_own(
    trained_home: Path, images: Path
) -> None:
    study = distune.load_study(NAME)
    deep = np.linspace(0, 40000, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(deep).save(images / "deep.png")
    messages: list[str] = []

    class Reader(distune.Callback):
        def on_message(self, text: str) -> None:
            messages.append(text)

    study.predict([images / "deep.png"], callbacks=[Reader()])
    assert [text for text in messages if "the values 0 to 40000 of these images become 0 to 255" in text]
