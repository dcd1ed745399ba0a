"""The parts of batches and of evaluations that the processes of a trial have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from distune.collectives import gather_objects, largest, num_processes
from distune.data.stream import Batch


def batches_of_all(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches of which every process has an image; a step needs all processes.

    Args:
        batches: this process's parts, as many as in the others.

    Yields:
        Batch: the parts; in one process, all batches.
    """
    for batch in batches:
        if num_processes() == 1 or not largest([len(batch) == 0])[0]:
            yield batch


def gather_predictions(predictions: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Return the predictions of all processes in the first one, in the order of the images.

    Args:
        predictions: of this process's images, on the CPU, each with its ``image_index``.

    Returns:
        This process's own ones in the other processes.
    """
    if num_processes() == 1:
        return predictions
    gathered = [each for part in gather_objects(predictions) for each in part]
    return sorted(gathered, key=lambda each: int(each["image_index"]))
