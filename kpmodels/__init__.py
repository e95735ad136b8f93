"""Keypoint-based detectors: data, training, evaluation, prediction.

``kpmodels.load(model)`` gives a predictor. It is imported on first use, so that ``import kpmodels`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kpmodels.predictor import Predictor, load

__all__ = ["Predictor", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from kpmodels import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
