"""The picture of a confirmation: gains by seed with their interval."""

from __future__ import annotations

from pathlib import Path

from distune.reports.gain_plot import GainPanel, draw_gains
from distune.reports.plots import save_figure
from distune.study.confirmation.record import Confirmation
from distune.study.folder import StudyFolder, study_title


def draw_confirmation(folder: StudyFolder, found: Confirmation) -> Path:
    """Draw ``gain.png`` in the folder of the confirmation. Returns the file."""
    panels = [GainPanel(f"trial {found.winner}, test split", found.test)] if found.test is not None else []
    panels += [
        GainPanel(f"trial {candidate.number}, search split", candidate.search)
        for candidate in found.candidates
        if candidate.search is not None
    ]
    path = folder.confirmation.picture_file
    title = study_title(folder.name, simulated=folder.identity().simulate)
    save_figure(draw_gains(panels, title=f"{title}: gain over no distillation"), path)
    return path
