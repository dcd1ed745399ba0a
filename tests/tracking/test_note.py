"""Notes: Markdown that shows foreign text as it is, and notes of users that stay."""

from __future__ import annotations

import pytest

from distune.tracking.note import (
    MAX_NOTE_LENGTH,
    escape_markdown,
    experiment_note,
    mark_note,
    markdown_table,
    may_replace_note,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gain +1.8 AP [+0.9, +2.6]", r"gain +1.8 AP \[+0.9, +2.6\]"),
        ("a|b", r"a\|b"),
        ("*x* `y` _z_\n# w", r"\*x\* \`y\` \_z\_ \# w"),
        ("<script>&", "&lt;script&gt;&amp;"),
        ("![a](http://b)", r"\!\[a\](http://b)"),
    ],
)
def test_text_of_users_is_no_markup(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown


def test_a_cell_cannot_end_its_row() -> None:
    assert markdown_table(["a", "b"], [["x|y\n| z", "1"]]) == ["| a | b |", "|---|---|", r"| x\|y \| z | 1 |"]


def test_a_note_is_replaced_until_a_user_edits_it() -> None:
    note = mark_note("**best trial 5**")
    assert note.startswith("**best trial 5**\n")
    assert all(may_replace_note(each) for each in (None, "", " \n", note, f"{note}\n"))
    assert not any(may_replace_note(each) for each in ("mine", f"mine {note}", f"{note}\nmine"))


def test_long_notes_are_cut_and_still_recognized() -> None:
    note = mark_note("x " * MAX_NOTE_LENGTH)
    assert len(note) <= MAX_NOTE_LENGTH
    assert may_replace_note(note)


def test_an_experiment_lists_its_studies() -> None:
    assert experiment_note([("b", "gain [1]"), ("a", "no gain")]) == "- **b**: gain \\[1\\]\n- **a**: no gain"
    many = experiment_note((f"study-{number}", "x" * 100) for number in range(100))
    assert len(mark_note(many)) <= MAX_NOTE_LENGTH
    assert many.endswith("\n- ...")
