"""Settings of prototypes without an effect are refused, with what to do instead."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from distune.config.distillation import DistillationSettings, PrototypeSettings
from distune.distillation.prototypes.selectors import SELECTORS


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        DistillationSettings.model_validate(values)
    return " ".join(str(caught.value).split())


def test_every_selector_has_a_name_in_the_settings_and_an_unknown_one_is_an_error_that_lists_them() -> None:
    for name in SELECTORS:
        assert DistillationSettings.model_validate({"prototypes": {"selector": name}}).prototypes.selector == name
    message = refusal({"prototypes": {"selector": "kmean"}})
    assert all(name in message for name in SELECTORS)


@pytest.mark.parametrize("selector", ["kmeans", "random"])
def test_alpha_is_refused_where_there_are_no_coefficients(selector: str) -> None:
    message = refusal({"prototypes": {"selector": selector, "alpha": 3.0}})
    assert f"distillation.prototypes.alpha = 3 has no effect with selector {selector}" in message
    assert "pursuit or orthogonal" in message
    for other in ("pursuit", "orthogonal"):
        PrototypeSettings.model_validate({"selector": other, "alpha": 3.0})


@pytest.mark.parametrize("selector", ["orthogonal", "kmeans", "random"])
def test_repeats_are_refused_where_there_are_none(selector: str) -> None:
    message = refusal({"preset": "gkd_raw", "prototypes": {"selector": selector}})
    assert f"distillation.prototypes.unique = false has no effect with selector {selector}" in message
    DistillationSettings.model_validate({"preset": "gkd_raw", "prototypes": {"selector": selector, "unique": True}})


def test_accepted_settings_are_accepted_again_with_all_defaults() -> None:
    settings = DistillationSettings.model_validate({"prototypes": {"selector": "kmeans"}})
    assert DistillationSettings.model_validate(settings.model_dump(mode="json")) == settings
