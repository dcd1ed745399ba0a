"""Names of the Optuna studies of a study."""

from __future__ import annotations


def controls_name(study: str) -> str:
    """Return the name of the Optuna study of the controls. Study names have no spaces, so it is never in use.

    Controls have no parameters. Among the searched trials, they would empty the search space that all trials share,
    which multivariate TPE, GP, CMA-ES and the importances rely on: docs/decisions/control_study.md.
    """
    return f"{study} controls"
