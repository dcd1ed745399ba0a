"""The figure of a confirmation: gains by seed with their interval."""

from __future__ import annotations

from pathlib import Path

from distune.evidence.confirmation_result import ConfirmationResult
from distune.reports.gain_plot import GainPanel, draw_gains
from distune.reports.plots import save_figure
from distune.study.files.study_folder import StudyFolder, study_title


def draw_confirmation(folder: StudyFolder, result: ConfirmationResult) -> Path:
    """Draw ``gain.png`` in the folder of the confirmation. Return the file."""
    gains = [("test", result.best, result.test)]
    gains += [("search", candidate, candidate.search) for candidate in result.candidates]
    panels = [
        GainPanel(f"trial {each.number}, {split} split", gain, each.describe(gain, num_seeds=len(result.seeds)))
        for split, each, gain in gains
        if gain is not None
    ]
    path = folder.confirmation.picture_file
    title = study_title(folder.name, simulated=folder.identity().simulate)
    save_figure(draw_gains(panels, title=f"{title}: gain over no distillation"), path)
    return path
