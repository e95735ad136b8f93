"""From a detector's kind to the detector."""

from __future__ import annotations

from kpmodels.config import Experiment
from kpmodels.detectors.base import Detector
from kpmodels.detectors.centernet_triplets import CenterNetDetector
from kpmodels.detectors.centripetalnet import CentripetalNetDetector
from kpmodels.detectors.cornernet import CornerNetDetector
from kpmodels.detectors.heatmap import HeatmapDetector
from kpmodels.detectors.locator import LocatorDetector
from kpmodels.errors import UserError
from kpmodels.structures import DatasetInfo

DETECTORS: dict[str, type[Detector]] = {
    "heatmap": HeatmapDetector,
    "locator": LocatorDetector,
    "cornernet": CornerNetDetector,
    "centernet-triplets": CenterNetDetector,
    "centripetalnet": CentripetalNetDetector,
}


def build_detector(experiment: Experiment, info: DatasetInfo) -> Detector:
    """A detector with fresh weights (from torch's random state) or pretrained ones, as the experiment says.

    Raises:
        UserError: the data set has not what the detector learns, or the backbone cannot be built.
    """
    options = experiment.detector
    chosen = DETECTORS[options.kind]
    if chosen.finds_boxes != (info.task == "boxes"):
        fitting = [kind for kind, other in DETECTORS.items() if other.finds_boxes != chosen.finds_boxes]
        raise UserError(
            f"data set {info.name} holds {info.task}; {options.kind} learns "
            + ("boxes" if chosen.finds_boxes else "keypoints"),
            f"choose detector.kind from {', '.join(fitting)}, or another data set",
        )
    return chosen(options, experiment.losses, info, experiment.train.batch_size)
