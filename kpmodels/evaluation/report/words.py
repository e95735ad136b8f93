"""What the numbers mean, for readers of the page."""

from __future__ import annotations

from kpmodels.evaluation.report.entries import Entry
from kpmodels.evaluation.report.html import definitions

PCK_WORDS = "Part of the labelled keypoints predicted within t times the instance's size; those of unpaired instances are wrong."
SIZE_WORDS = "The longer side of the box, or the root of the area where that is larger."


def meanings(entry: Entry) -> str:
    """Definitions of the metrics of the task."""
    task, options = entry.table.meta.task, entry.options
    pairs = {"pose": _pose, "points": _points, "boxes": _boxes}[task](entry)
    pairs += [
        ("Precision, recall, F1", f"Of predictions that score at least {options.score_threshold:g}; one to one."),
        ("False alarms, miss rate", "Predictions that found nothing, per image (images without instances too); "
         "part of the instances that were not found."),
        ("95 % interval", "Bootstrap: images (whole groups, such as videos) drawn anew many times; for differences the "
         "same draw for both models. A verdict is given where the interval does not hold 0."),
        ("Ignored", "Crowd regions, and instances without a labelled keypoint."),
    ]  # fmt: skip
    return definitions(pairs)


def _pose(entry: Entry) -> list[tuple[str, str]]:
    sigmas = (
        "The data set has no measured OKS sigmas, so assumed ones are used: compare these numbers only with others made "
        "with the same."
        if entry.table.meta.sigmas_ending
        else "With the sigmas of the data set."
    )
    within = max(entry.options.pck_thresholds, default=0.2)
    boxes = "The detector was given the labelled boxes." if entry.metrics.get("boxes") == "truth" else ""
    return [
        ("OKS AP, AR", f"Average precision and recall of COCO over OKS 0.5 to 0.95 (pycocotools). {sigmas} {boxes}".strip()),
        ("Pixel error", "Distance from each labelled keypoint to the predicted one, in pixels of the original image, over "
         "paired instances, whatever the score."),
        ("Size of an instance", SIZE_WORDS),
        ("NME", "Pixel error divided by the size of the instance."),
        ("PCK@t", PCK_WORDS),
        ("Found", f"A pose is found when its mean keypoint error is at most {within:g} times the instance's size."),
    ]  # fmt: skip


def _points(entry: Entry) -> list[tuple[str, str]]:
    return [
        ("Found", f"A point within {entry.options.radius:g} pixels of a predicted one, matched one to one."),
        ("Average Hausdorff distance", "Mean distance from each true point to the nearest predicted one, plus the mean the "
         "other way round; the image's diagonal where only one of the two has points."),
        ("Count", "The detector's own estimate where it makes one, else the number of its predictions. MAPE is relative to "
         "the true count (to 1 where that is 0)."),
    ]  # fmt: skip


def _boxes(entry: Entry) -> list[tuple[str, str]]:
    return [
        ("Box AP, AR", "Average precision and recall of COCO over overlaps 0.5 to 0.95 (pycocotools)."),
        ("Found", "A box of the same category with an overlap of at least 0.5."),
    ]
