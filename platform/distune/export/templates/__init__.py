"""Text files of an export, made with Jinja2."""

from __future__ import annotations

from typing import Any

import jinja2


def render(template: str, **values: Any) -> str:
    """Fill in a template of this folder.

    Args:
        template: name of the file.
        **values: of its variables; one that is missing is an error.

    Returns:
        The text, which ends with a newline.
    """
    environment = jinja2.Environment(  # noqa: S701 - the files are Python and Markdown
        loader=jinja2.PackageLoader("distune.export.templates", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)
