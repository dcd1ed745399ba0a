"""Content hashes of settings: equal settings have equal hashes, whatever their order."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def content_hash(values: Any, *, length: int = 16) -> str:
    """Return the first ``length`` hexadecimal digits of the SHA-256 of the canonical JSON of plain data."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
