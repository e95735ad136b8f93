"""Any timm model with feature maps as a backbone."""

from __future__ import annotations

import logging
from typing import Any

import timm
from timm.models import get_pretrained_cfg, is_model, list_models
from torch import Tensor, nn

from kpmodels.backbones.pretrained import Pretrained, find_pretrained, normalisation
from kpmodels.config import BackboneOptions
from kpmodels.errors import UserError, nearest


class TimmBackbone(nn.Module):
    """Feature maps of a timm model, finest first, one per stride (the deepest where several have the same).

    Attributes:
        channels, strides: Of the maps that ``forward`` returns.
        mean, std: Of the input, RGB in grey levels of 255.
    """

    def __init__(self, options: BackboneOptions, input_size: int, finest: int) -> None:
        """``finest``: maps of a smaller stride than this are not returned."""
        super().__init__()
        config = _config(options.name)
        found = find_pretrained(options, config) if options.pretrained else None
        self.mean, self.std = (found.mean, found.std) if found else normalisation(config)
        self.model = _create(options, input_size, config.fixed_input_size, found)
        if found:
            _check_loaded(self.model, found, options.name)
        feature_info: Any = self.model.feature_info
        reductions, channels = feature_info.reduction(), feature_info.channels()
        last = {stride: index for index, stride in enumerate(reductions)}
        self.taken = [last[s] for s in sorted(last) if s >= finest] or [max(last.values())]
        self.strides = [reductions[index] for index in self.taken]
        self.channels = [channels[index] for index in self.taken]
        self.channels_at_end = getattr(self.model, "output_fmt", None) is not None and "NHWC" in str(
            self.model.output_fmt
        )

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        maps = self.model(images_B3HW)
        picked = [maps[index] for index in self.taken]
        return [m.permute(0, 3, 1, 2).contiguous() for m in picked] if self.channels_at_end else picked


def _config(name: str):  # type: ignore[no-untyped-def]  # timm's PretrainedCfg
    if not is_model(name):
        hint = nearest(name, list_models()) if "." not in name else "see timm.list_models(pretrained=True)"
        hint = hint if hint.startswith("did you mean") else "see python -c 'import timm; print(timm.list_models())'"
        raise UserError(f"detector.backbone.name: timm has no model {name!r}", hint)
    return get_pretrained_cfg(name)


def _create(options: BackboneOptions, input_size: int, fixed: bool, found: Pretrained | None) -> nn.Module:
    arguments: dict[str, Any] = {"img_size": input_size} if fixed else {}
    if found:
        arguments["pretrained_cfg_overlay"] = {"state_dict": found.state}
    log = logging.getLogger("timm.models._builder")  # warns of the classifier, which no backbone has
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        model = timm.create_model(options.name, features_only=True, pretrained=bool(found), **arguments)
    except (RuntimeError, KeyError, AttributeError, AssertionError, TypeError, ValueError) as error:
        where = f" with the weights of {found.source}" if found else ""
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"detector.backbone: timm cannot build {options.name} as a backbone{where}: {first}",
            "choose a model with feature maps, for example tf_efficientnet_lite0 or resnet18, and weights made for it",
        ) from error
    finally:
        log.setLevel(level)
    for name in ("pretrained_cfg", "default_cfg"):
        if hasattr(model, name):
            setattr(model, name, {})
    return model


def _check_loaded(model: nn.Module, found: Pretrained, name: str) -> None:
    """timm skips weights that fit nothing; a file of another network must not pass for a random start."""

    def mark(tensor: Tensor) -> tuple[int, float]:
        return tensor.numel(), float(tensor.double().sum())

    marks = {mark(tensor) for tensor in found.state.values() if tensor.is_floating_point()}
    weights = [p for p in model.parameters() if p.ndim > 1]
    known = sum(mark(p.detach()) in marks for p in weights)
    if known < 0.8 * len(weights):
        raise UserError(
            f"{found.source}: only {known} of the {len(weights)} weights of {name} are in it",
            "give a file made for this timm model",
        )
