"""From a detector's kind to the detector."""

from __future__ import annotations

from kpmodels.config import Experiment
from kpmodels.detectors.base import Detector
from kpmodels.detectors.heatmap import HeatmapDetector
from kpmodels.detectors.locator import LocatorDetector
from kpmodels.errors import UserError
from kpmodels.structures import DatasetInfo

DETECTORS: dict[str, type[Detector]] = {
    "heatmap": HeatmapDetector,
    "locator": LocatorDetector,
}


def build_detector(experiment: Experiment, info: DatasetInfo) -> Detector:
    """A detector with fresh weights (from torch's random state) or pretrained ones, as the experiment says.

    Raises:
        UserError: the data set has not what the detector needs, or the backbone cannot be built.
    """
    options = experiment.detector
    if info.num_keypoints < 1:
        raise UserError(
            f"data set {info.name}: its instances have no keypoints, which {options.kind} learns",
            "choose another detector.kind or a data set with keypoints",
        )
    batch_size = experiment.train.batch_size
    return DETECTORS[options.kind](options, experiment.losses, info, batch_size)
