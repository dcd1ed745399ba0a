"""The base of all settings: checked, frozen, and strict about names and types."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings of one thing. An unknown key is an error, and nothing is converted silently (``"3"`` is no number)."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
