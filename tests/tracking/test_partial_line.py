"""A last line without a line end is removed."""

from __future__ import annotations

from pathlib import Path

from distune.tracking.partial_line import truncate_partial_line


def test_only_a_partial_last_line_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert truncate_partial_line(path) == 0
    assert not path.exists()
    for content, kept in [
        (b"", b""),
        (b"{}", b""),
        (b"{}\n", b"{}\n"),
        (b"{}\n{}\n" + b"x" * 200_000, b"{}\n{}\n"),
        (b"{}\n" + b"x" * 65_535, b"{}\n"),
    ]:
        path.write_bytes(content)
        assert truncate_partial_line(path) == len(kept)
        assert path.read_bytes() == kept
