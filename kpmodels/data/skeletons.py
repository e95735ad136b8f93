"""What a data set's keypoints are: from the source, the options and the data set before, or a clear question."""

from __future__ import annotations

import re

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.drop import Drop
from kpmodels.errors import UserError, nearest
from kpmodels.structures import DatasetInfo, Skeleton

_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}
_SIDE_TOKENS = (
    re.compile(r"left|right", re.IGNORECASE),
    re.compile(r"(?<![A-Za-z])[LR](?![A-Za-z])", re.IGNORECASE),  # l_eye, eye-R, 2_L
    re.compile(r"(?<=[a-z])[LR](?=\d*(?:[_\-. ]|$))"),  # eyeL, forelegR2
    re.compile(r"^[lrLR](?=[A-Z][a-z])"),  # lEye, REye
)


def flip_pairs_by_name(names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Pairs of indices whose names are each other's mirror image: left/right, or L/R as a word, prefix or suffix."""
    index = {name: i for i, name in enumerate(names)}
    pairs = set()
    for name, i in index.items():
        for token in _SIDE_TOKENS:
            mirrored = token.sub(lambda found: _other_side(found.group()), name)
            if mirrored != name and mirrored in index:
                pairs.add((min(i, index[mirrored]), max(i, index[mirrored])))
                break
    return tuple(sorted(pairs))


def _other_side(side: str) -> str:
    other = _SIDES[side.lower()]
    if side.isupper():
        return other.upper()
    return other.capitalize() if side[0].isupper() else other


def make_info(drop: Drop, name: str, options: IngestOptions, old: DatasetInfo | None) -> tuple[DatasetInfo, list[str]]:
    """What the data set says of itself after the drop, and notes for the user.

    Options go before the source, and the source before what the data set said. New categories come after the old.

    Raises:
        UserError: When the drop does not fit the data set or the options do not fit the keypoints.
    """
    task = options.task or (old.task if old else "") or {0: "boxes", 1: "points"}.get(len(drop.keypoints), "pose")
    names = () if task == "boxes" else options.keypoints or drop.keypoints
    _check_task(task, names, drop)
    if old is not None:
        _check_fits(old, task, names)
        names = old.skeleton.names
    skeleton, notes = _skeleton(names, drop, options, old)
    categories = list(old.categories) if old else []
    categories += [category for category in drop.categories if category not in categories]
    info = DatasetInfo(
        name=name,
        task=task,
        categories=tuple(categories),
        skeleton=skeleton,
        source=options.source or drop.source or (old.source if old else ""),
        licence=options.licence or drop.licence or (old.licence if old else ""),
    )
    return info, notes


def _check_task(task: str, names: tuple[str, ...], drop: Drop) -> None:
    if task == "points" and len(names) != 1:
        what = f"task points needs one keypoint per instance, the source has {len(names)}"
        raise UserError(what, "leave the task out, or use pose or boxes")
    if task == "pose" and not names:
        raise UserError("task pose needs keypoints, the source has none", "leave the task out, or use boxes")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"the keypoint name {twice!r} appears twice", "give each keypoint its own name")
    if task != "boxes" and drop.keypoints and len(names) != len(drop.keypoints):
        what = f"{len(names)} names are given for {len(drop.keypoints)} keypoints ({', '.join(drop.keypoints)})"
        raise UserError(what, "give one name per keypoint in --set keypoints=...")


def _check_fits(old: DatasetInfo, task: str, names: tuple[str, ...]) -> None:
    if task != old.task:
        raise UserError(f"the data set {old.name} is of task {old.task}, the drop of {task}", "give it another --name")
    if set(names) != set(old.skeleton.names):
        lacking = sorted(set(old.skeleton.names) - set(names))
        extra = sorted(set(names) - set(old.skeleton.names))
        what = f"the keypoints of the drop are not those of the data set {old.name}: lacking {lacking}, extra {extra}"
        raise UserError(what, "rename them with --set keypoints=NAME,NAME,... or give another --name")


def _skeleton(
    names: tuple[str, ...], drop: Drop, options: IngestOptions, old: DatasetInfo | None
) -> tuple[Skeleton, list[str]]:
    notes: list[str] = []
    source_names = options.keypoints or drop.keypoints
    order = (
        [names.index(name) for name in source_names] if names else []
    )  # the drop's order may differ from the old one
    limbs = tuple((order[a], order[b]) for a, b in drop.limbs) if names else ()
    if options.limbs:
        limbs = _by_names(options.limbs, names, "limbs")
    elif not limbs and old:
        limbs = old.skeleton.limbs
    sigmas, assumed = _sigmas(names, order, drop, options, old, notes)
    flips = _flips(names, order, drop, options, old, notes)
    return Skeleton(names, limbs, flips, sigmas, assumed), notes


def _by_names(pairs: tuple[str, ...], names: tuple[str, ...], option: str) -> tuple[tuple[int, int], ...]:
    """Pairs of names as pairs of indices."""
    result = []
    for pair in pairs:
        ends = [end.strip() for end in pair.split(":")]
        for end in ends:
            if end not in names:
                raise UserError(f"{option}: {end!r} is no keypoint: {nearest(end, names)}")
        result.append((names.index(ends[0]), names.index(ends[1])))
    return tuple(result)


def _flips(
    names: tuple[str, ...],
    order: list[int],
    drop: Drop,
    options: IngestOptions,
    old: DatasetInfo | None,
    notes: list[str],
) -> tuple[tuple[int, int], ...]:
    if options.flip_pairs == ("none",):
        return ()
    if options.flip_pairs and options.flip_pairs != ("auto",):
        return _by_names(options.flip_pairs, names, "flip_pairs")
    if not options.flip_pairs and names and drop.flip_pairs is not None:
        return tuple((order[a], order[b]) for a, b in drop.flip_pairs)
    if not options.flip_pairs and old is not None:
        return old.skeleton.flip_pairs
    pairs = flip_pairs_by_name(names)
    if pairs:
        told = ", ".join(f"{names[a]}:{names[b]}" for a, b in pairs)
        notes.append(f"the source has no flip pairs; derived from the names: {told} (--set flip_pairs=none: no pairs)")
    elif len(names) > 1:
        notes.append(
            "no flip pairs: mirrored images keep each keypoint's name (give pairs with --set flip_pairs=left:right)"
        )
    return pairs


def _sigmas(
    names: tuple[str, ...],
    order: list[int],
    drop: Drop,
    options: IngestOptions,
    old: DatasetInfo | None,
    notes: list[str],
) -> tuple[tuple[float, ...] | None, bool]:
    """OKS constants and whether they are assumed."""
    if options.sigmas:
        sigmas = options.sigmas * len(names) if len(options.sigmas) == 1 else options.sigmas
        if len(sigmas) != len(names):
            raise UserError(f"{len(sigmas)} sigmas for {len(names)} keypoints", "give one per keypoint, or one for all")
        return sigmas, False
    if names and drop.sigmas is not None:
        if len(drop.sigmas) != len(order):
            raise UserError(
                f"the source has {len(drop.sigmas)} sigmas for {len(order)} keypoints", "mend it, or --set sigmas="
            )
        by_index = dict(zip(order, drop.sigmas, strict=True))
        if drop.sigmas_assumed:
            notes.append("the source says that its OKS sigmas were not measured: OKS numbers will say 'assumed'")
        return tuple(by_index[i] for i in range(len(names))), drop.sigmas_assumed
    if old is not None:
        return old.skeleton.sigmas, old.skeleton.sigmas_assumed
    if len(names) > 1:
        notes.append(
            "no OKS sigmas: OKS numbers will be made with assumed ones and say so (give them with --set sigmas=...)"
        )
    return None, False
