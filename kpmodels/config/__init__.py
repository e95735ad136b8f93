"""The options of an experiment: ``params.yaml`` as pydantic models, which are also the forms of the Prefect UI."""

from kpmodels.config.backbone import BackboneOptions
from kpmodels.config.boxes import CenterNetOptions, CentripetalNetOptions, CornerNetOptions
from kpmodels.config.data import AugmentOptions, DataOptions
from kpmodels.config.detectors import DETECTOR_OPTIONS, DetectorOptions, HeatmapOptions, LocatorOptions
from kpmodels.config.evaluation import EvaluateOptions
from kpmodels.config.experiment import (
    Experiment,
    override,
    parse_experiment,
    read_experiment,
    read_options,
    write_experiment,
)
from kpmodels.config.gate import GateOptions
from kpmodels.config.losses import ContrastiveOptions, HausdorffOptions, LossOptions
from kpmodels.config.training import TrainOptions

__all__ = [
    "DETECTOR_OPTIONS",
    "AugmentOptions",
    "BackboneOptions",
    "CenterNetOptions",
    "CentripetalNetOptions",
    "ContrastiveOptions",
    "CornerNetOptions",
    "DataOptions",
    "DetectorOptions",
    "EvaluateOptions",
    "Experiment",
    "GateOptions",
    "HausdorffOptions",
    "HeatmapOptions",
    "LocatorOptions",
    "LossOptions",
    "TrainOptions",
    "override",
    "parse_experiment",
    "read_experiment",
    "read_options",
    "write_experiment",
]
