"""The model card: the front matter of Hugging Face, and what is known about the detector."""

from __future__ import annotations

from typing import Any

import yaml

from distune.export.model_card import ModelCard, Score, flatten
from distune.export.parity import Parity

PARITY = Parity(
    num_images=20,
    ap=31.42,
    exported_ap=31.4,
    num_detections=90,
    num_found=90,
    num_extra=0,
    max_box_px=0.001,
    max_score=1e-6,
    latency_ms=12.0,
    exported_latency_ms=8.0,
    num_threads=2,
)


def card(**changes: Any) -> str:
    values: dict[str, Any] = {
        "title": "study quick, trial 7",
        "role": "distilled student",
        "family": "retinanet",
        "backbone": "resnet10",
        "classes": ("cat", "dog"),
        "image_size": "shorter side 64 px, longer side at most 96 px",
        "num_parameters": 5447247,
        "format": "onnx",
        "format_summary": "an ONNX graph",
        "format_notes": {"opset": "18"},
        "weights_file": "student.onnx",
        "program_file": "run_onnx.py",
        "license": None,
        "data": ["train split: 400 images, 608 boxes"],
        "scores": [Score(split="search", ap=31.42, source="this detector")],
        "gain": "not confirmed: one seed",
        "num_test_evaluations": 1,
        "parity": PARITY,
        "parity_split": "search",
        "file_bytes": (21_800_000, 21_900_000),
        "settings": {"Training": {"epochs": 6, "optimizer": {"kind": "adamw"}, "schedule": None}},
        "versions": {"distune": "0.1.0", "torch": "2.15.0"},
    }
    return ModelCard(**{**values, **changes}).to_markdown()


def front_matter(text: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return values


def test_the_front_matter_is_that_of_hugging_face() -> None:
    assert front_matter(card()) == {
        "license": "other",
        "library_name": "onnx",
        "pipeline_tag": "object-detection",
        "tags": ["object-detection", "knowledge-distillation", "retinanet"],
    }
    assert front_matter(card(license='mine: "only"'))["license"] == 'mine: "only"'


def test_all_facts_are_in_the_text() -> None:
    text = card()
    for fact in (
        "# study quick, trial 7",
        "5,447,247 parameters for 2 classes: the distilled student",
        "label 1 first: cat, dog.",
        "Fill in the field `license`",
        "- train split: 400 images, 608 boxes",
        "| search | 31.4 | this detector |",
        "Gain by distillation: not confirmed: one seed.",
        "test split: 1.",
        "| AP | 31.42 | 31.40 |",
        "| detections | 90 | 90 of them |",
        "| median latency of an image | 12.0 ms | 8.0 ms |",
        "| size of the weights | 21.8 MB | 21.9 MB |",
        "CPU with 2 threads",
        "- Opset: 18",
        '- `optimizer.kind`: "adamw"',
        "distune 0.1.0, torch 2.15.0",
    ):
        assert fact in text, fact
    assert "schedule" not in text
    assert "\n\n\n" not in text


def test_a_stated_license_replaces_the_reminder() -> None:
    text = card(license="apache-2.0")
    assert "\n## License\n\napache-2.0\n" in text
    assert "Fill in" not in text


def test_folders_of_this_machine_are_not_published() -> None:
    assert flatten({"data": {"root": "/home/me/secret/cells", "kind": "voc"}}) == [
        ("data.root", "cells"),
        ("data.kind", "voc"),
    ]
