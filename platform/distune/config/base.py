"""The base class of all settings: immutable, and strict about names and types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """A group of settings. Unknown names are errors, and values are not converted (``"3"`` is not a number)."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_kinds(cls, values: Any) -> Any:
        """Give a group without ``kind`` that of its default, so that ``optimizer: {learning_rate: 1e-4}`` is valid."""
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        for name, field in cls.model_fields.items():
            kind = getattr(field.default, "kind", None)
            given = filled.get(name)
            if kind is not None and isinstance(given, Mapping) and "kind" not in given:
                filled[name] = {"kind": kind, **given}
        return filled
