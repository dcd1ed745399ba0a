"""Is the average precision of the search split fine enough to see a gain?"""

from __future__ import annotations

from distune.evidence.gain import MIN_IMAGES
from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import StudyEvidence

_NAME = "data"
MIN_BOXES = 20
"""Boxes of a class below which one of them is worth more than 5 points of the class's AP."""
LARGE_STEP = 1.0
"""Points of the mean AP that one box may be worth: known gains of distillation are of this size."""
_MAX_NAMED = 5


def check_coarse_scores(evidence: StudyEvidence) -> Finding:
    """Compute how many points of AP one box of the search split is worth.

    Args:
        evidence: of the study.

    Returns:
        A problem if a box of some class is worth a point of the mean AP and five of the class, or if there are too few
        images with boxes.
    """
    split = evidence.split
    if split is None or not split.boxes:
        return Finding(check=_NAME, state=FindingState.UNKNOWN, text="the boxes of the search split were not counted")
    counted = {name: number for name, number in split.boxes.items() if number > 0}
    absent = [name for name, number in split.boxes.items() if number == 0]
    details = {"images": split.num_images, "boxes": dict(split.boxes)}
    if not counted:
        return Finding(
            check=_NAME,
            state=FindingState.PROBLEM,
            text="the search split has no box that counts",
            advice="give data.search_set annotated images; distune validate shows the boxes of each split",
            details=details,
        )
    steps = {name: 100 / number / len(counted) for name, number in counted.items()}
    coarse = [name for name, number in counted.items() if number < MIN_BOXES and steps[name] >= LARGE_STEP]
    most = max(steps, key=steps.__getitem__)
    missing = f"; it has no box of {', '.join(absent[:_MAX_NAMED])}" if absent else ""
    text = (
        f"the search split has {split.num_images} images with boxes and {sum(counted.values())} boxes; one box of "
        f"class {most} ({counted[most]} boxes) is worth up to {steps[most]:.1f} points of AP{missing}"
    )
    if not coarse and split.num_images >= MIN_IMAGES:
        return Finding(check=_NAME, state=FindingState.OK, text=text, details=details)
    few = ", ".join(coarse[:_MAX_NAMED]) or "images with boxes"
    return Finding(
        check=_NAME,
        state=FindingState.PROBLEM,
        text=f"{text}: AP is too coarse to see a gain",
        advice="take more images into the search split, with at least "
        f"{MIN_BOXES} boxes of each class (few here: {few}), or leave rare classes out (data.classes)",
        details=details,
    )
