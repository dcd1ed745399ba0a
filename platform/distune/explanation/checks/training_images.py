"""Does the student fail on its training images, or only on others?"""

from __future__ import annotations

from distune.explanation.checks.budget import has_leveled_off
from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import StudyEvidence

_NAME = "training images"
OVERFITTING = 20.0
"""Points by which the AP on training images exceeds that on the search split where a student has learned its images by
heart: a few points are usual."""
CLOSE = 5.0
"""Points within which both are about equal, so that more images would not help."""
FAR_BELOW = 5.0
"""Points by which the teacher is ahead of a student that is too small for what the teacher knows."""


def check_training_images(evidence: StudyEvidence) -> Finding:
    """Compare the student's AP on training images with that on the search split.

    Args:
        evidence: of the study, with a student.

    Returns:
        A problem if there is no gain, and the student is overfitted or too small.
    """
    assert evidence.student is not None
    split = evidence.split
    if split is None or split.train_score is None or split.search_score is None:
        text = "the student was not measured on its training images"
        return Finding(check=_NAME, state=FindingState.UNKNOWN, text=text)
    train, search = split.train_score, split.search_score
    details = {"train": train, "search": search}
    text = f"the student has {train:.1f} AP on training images and {search:.1f} on the search split"
    state = FindingState.OK if evidence.has_gain else FindingState.PROBLEM
    if train - search >= OVERFITTING:
        return Finding(
            check=_NAME,
            state=state,
            text=f"{text}: it knows its training images by heart",
            advice="add training images or augmentation (data.augmentation), or train fewer epochs: on images that it "
            "knows already, the teacher tells it little",
            details=details,
        )
    # Without a class the teacher's AP is of other objects.
    lead = None if evidence.unknown_classes else evidence.teacher_lead.get("AP")
    is_level = has_leveled_off(evidence.student, evidence.metric)
    if is_level and train - search <= CLOSE and lead is not None and lead.first - search >= FAR_BELOW:
        return Finding(
            check=_NAME,
            state=state,
            text=f"{text}, the teacher {lead.first:.1f}, and the curve has leveled off: the student is too small, or "
            "its learning rate too low",
            advice="try a larger student (student.backbone, student.fpn_channels) or another "
            "training.optimizer.learning_rate for both student and control",
            details=details,
        )
    return Finding(check=_NAME, state=FindingState.OK, text=text, details=details)
