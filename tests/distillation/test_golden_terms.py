"""The raw loss of every term on seeded maps stays what it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distune.config.distillation import DistillationSettings
from distune.config.paths import merge
from support.golden import check_golden
from support.objectives import MakeTaps, with_prototypes

RAW: dict[str, Any] = merge(
    {name: {"weight": 1.0, "unit": "raw"} for name in DistillationSettings().terms},
    {"soft_labels": {"sites": "positive", "temperature": 2.0}},
)
"""All terms with weight 1, so that the losses of the first epoch are the raw ones."""

ALL_SITES: dict[str, Any] = {"soft_labels": {"sites": "all"}, "localization": {"sites": "all"}}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "softmax": {},
    "maps as they are": {"standardize": "none"},
    "standardized channels": {"standardize": "channel"},
    "whole-cell pooling": {"pooling": "crop"},
    "max_cosine, linear": {"filter": {"discrepancy": "max_cosine", "weight": "linear", "local_threshold": 0.5}},
    "coefficients, quantile": {"filter": {"discrepancy": "coefficient", "weight": "quantile", "local_threshold": 0.5}},
    "threshold": {"filter": {"weight": "threshold", "local_threshold": 0.4}},
    "uniform": {"filter": {"weight": "uniform"}},
    "own class, coefficients": {"global_knowledge": {"classes": "own", "representation": "coefficient"}},
    "divergence on own level": {"global_knowledge": {"form": "divergence", "levels": "own"}},
    "teacher's space": {"global_knowledge": {"space": "teacher"}},
    "cells": {"global_knowledge": {"at": "cells", "form": "divergence", "background_weight": 0.1}},
    "boxes, smooth L1": {"mimic": {"regions": "boxes"}, "localization": {"form": "smooth_l1"}},
    "bounded, reduction mean": {
        "localization": {"form": "bounded", "margin": 0.1},
        "soft_labels": {"reduction": "mean"},
    },
    "all sites": ALL_SITES,
    "all sites, softmax": ALL_SITES,
    "all sites, other weights": {
        "localization": {"sites": "all", "form": "smooth_l1", "site_weight": "score"},
        "soft_labels": {"sites": "all", "focus": 2.0, "temperature": 1.0},
    },
}


def raw_losses(variant: str, make_taps: MakeTaps) -> dict[str, float]:
    """Return the raw losses of one variant by ``<variant>/<term>``."""
    score_kind = "softmax" if variant.endswith("softmax") else "sigmoid"
    objective = with_prototypes(make_taps, merge(RAW, VARIANTS[variant]), score_kind=score_kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # MGD draws the cells that it hides
        losses = objective(*make_taps(seed=1, boxes_per_image=(5, 4, 0), score_kind=score_kind))
    return {f"{variant}/{name}": float(loss.detach()) for name, loss in losses.items()}


def test_raw_losses_of_the_terms_equal_the_golden_values(make_taps: MakeTaps, pytestconfig: pytest.Config) -> None:
    values = {name: value for variant in VARIANTS for name, value in raw_losses(variant, make_taps).items()}
    assert len(values) == len(VARIANTS) * len(RAW)
    check_golden("terms", values, pytestconfig)
