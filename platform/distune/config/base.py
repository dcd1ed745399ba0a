"""The base of all settings: checked, frozen, and strict about names and types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """Settings of one thing. An unknown key is an error, and nothing is converted silently (``"3"`` is no number)."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_kinds(cls, values: Any) -> Any:
        """A group without a ``kind`` is of the default's: ``optimizer: {learning_rate: 1e-4}`` need not repeat it."""
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        for name, field in cls.model_fields.items():
            kind = getattr(field.default, "kind", None)
            given = filled.get(name)
            if kind is not None and isinstance(given, Mapping) and "kind" not in given:
                filled[name] = {"kind": kind, **given}
        return filled
