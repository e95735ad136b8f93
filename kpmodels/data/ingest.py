"""A drop of images and labels into a data set on disk: read, checked, merged, and put in place at once."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpmodels.config.ingest import IngestOptions, parse_ingest
from kpmodels.data.archives import opened
from kpmodels.data.drop import Drop
from kpmodels.data.intake import take_in
from kpmodels.data.labels import Rules
from kpmodels.data.merging import Merge
from kpmodels.data.readers.detect import read_drop
from kpmodels.data.report import IngestReport
from kpmodels.data.schema import FORMAT
from kpmodels.data.shards import ShardWriter, write_annotations, write_description
from kpmodels.data.skeletons import make_info
from kpmodels.data.splits import SPLITS, SplitRule, split_key, split_of
from kpmodels.data.staging import Stage, recover, share, staged
from kpmodels.data.store import DatasetStore, open_dataset
from kpmodels.errors import UserError
from kpmodels.structures import DatasetInfo

Progress = Callable[[int, int], Any]
NAME = re.compile(r"^[a-z0-9][a-z0-9-]*$")
THOROUGH_BYTES = 64 * 2**20
"""With ``verify: auto``, drops up to this size have every image decoded."""


def build_version(
    source: str | Path,
    folder: Path | str,
    name: str,
    *,
    format: str = "auto",
    options: IngestOptions | None = None,
    skip_bad: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Merge a drop into the data set in ``folder``, or make it.

    Images are known by their content. Known images get the drop's labels; new images go to new shards. The folder changes
    at once at the end, and not at all when anything is wrong.

    Args:
        source: Folder, label file, archive or address (see ``archives.opened``).
        folder: Of the data set.
        name: Of the data set: lower-case letters, digits and dashes.
        format: Form of the labels; goes before ``options.format`` unless "auto".
        options: How the drop is read.
        skip_bad: Leave out what is broken, and record it in ``dataset.json``, instead of refusing the drop.
        dry_run: Read and check all, write nothing.
        progress: Called with (images done, images in all).

    Raises:
        UserError: For anything wrong with the drop, all problems at once.
    """
    options = _checked_options(options or IngestOptions(), name, format)
    folder = Path(os.path.abspath(folder))
    with opened(source) as opened_source:
        old = _existing(folder, name, options)
        drop = read_drop(opened_source, options)
        if not drop.images and not drop.problems.found:
            raise UserError(f"{opened_source.label}: the drop is empty: no image with labels", "check the source")
        info, notes = make_info(drop, name, options, old.info if old else None)
        drop.notes += notes
        job = _Job(drop, opened_source.label, folder, info, options, old, skip_bad, progress)
        if dry_run:
            return replace(_plan(job, _merged(job, None)).report, dry_run=True)
        with staged(folder, job.bytes) as stage:
            return _write(job, stage)


@dataclass
class _Job:
    drop: Drop
    source: str
    folder: Path
    info: DatasetInfo
    options: IngestOptions
    old: DatasetStore | None
    skip_bad: bool
    progress: Progress | None

    @cached_property
    def bytes(self) -> int:
        """Of the drop's image files: what may have to be written at most."""
        return sum(image.path.stat().st_size for image in self.drop.images if image.path is not None)


@dataclass
class _Plan:
    """What is going to be written."""

    table: pa.Table
    description: dict[str, Any]
    report: IngestReport


def _checked_options(options: IngestOptions, name: str, format: str) -> IngestOptions:
    """The options with ``format`` in them, when they and the name make sense."""
    if format != "auto":
        options = parse_ingest({**options.model_dump(), "format": format})
    if not NAME.match(name):
        raise UserError(f"{name!r} is no name for a data set", "use lower-case letters, digits and dashes")
    if options.group_by in ("", "folder"):
        return options
    try:
        groups = re.compile(options.group_by).groups
    except re.error as error:
        raise UserError(f"group_by {options.group_by!r} is no regular expression: {error}", "mend it") from None
    if groups < 1:
        raise UserError(
            f"group_by {options.group_by!r} has no bracket", "bracket the group's part, as in (mouse[0-9]+)_"
        )
    return options


def _existing(folder: Path, name: str, options: IngestOptions) -> DatasetStore | None:
    recover(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return None
    if not (folder / "dataset.json").is_file():
        raise UserError(f"{folder} holds something that is no data set", "give another folder")
    old = open_dataset(folder)
    if old.info.name != name:
        raise UserError(f"{folder} holds the data set {old.info.name}, not {name}", "give its name, or another folder")
    if options.split and SplitRule.of(options.split, old.rule.salt) != old.rule:
        rule = f"{old.rule.train:g},{old.rule.val:g},{old.rule.test:g}"
        raise UserError(f"{name} is divided {rule} already, and images never move", "leave --set split= out")
    return old


def _merged(job: _Job, writer: ShardWriter | None) -> Merge:
    """The drop's images, read and merged; new ones are written to the writer's shards.

    Raises:
        UserError: For all problems at once, unless they are to be skipped.
    """
    drop, old = job.drop, job.old
    names = job.info.skeleton.names
    order = [names.index(name) for name in job.options.keypoints or drop.keypoints] if names else []
    category = [job.info.categories.index(one) for one in drop.categories]
    rules = Rules(job.info, order, category)
    merge = Merge(rules, job.options, drop.problems, old, writer, job.source)
    verify = job.options.verify
    thorough = verify == "decode" or (verify == "auto" and job.bytes <= THOROUGH_BYTES)
    known = frozenset(old.image_ids) if old else frozenset()
    for done, taken in enumerate(take_in(drop.images, thorough, known), 1):
        merge.take(taken)
        taken.image.labels.clear()  # the merge has them, in less memory
        if job.progress:
            job.progress(done, len(drop.images))
    if drop.problems.found and not job.skip_bad:
        raise drop.problems.error()
    if not merge.images or not (old or len(merge.columns)):
        left = f" ({', '.join(f'{n} x {kind}' for kind, n in drop.problems.counts().items())})" if drop.problems else ""
        raise UserError(f"{job.source}: the drop is empty: no image with labels can be taken{left}", "check the source")
    drop.notes += [f"{what}: {count}" for what, count in sorted(rules.counts.items())]
    if not thorough:
        drop.notes.append(
            "images were checked by structure and checksums, not decoded in full; data check decodes them"
        )
    return merge


def _plan(job: _Job, merge: Merge) -> _Plan:
    table, changed = merge.table()
    old = job.old
    rule = old.rule if old else SplitRule.of(job.options.split)
    splits = dict.fromkeys(SPLITS, 0)
    for id, group in merge.added.items():
        splits[split_of(split_key(id, group), rule)] += 1
    for split in SPLITS:
        splits[split] += len(old.split(split)) if old else 0
    left_out = _left_out(job, merge)
    description = {
        "format": FORMAT,
        "info": replace(job.info, single_instance=_is_single(table), typical_size=_typical_size(merge)).to_dict(),
        "splits": rule.to_dict(),
        "counts": {"images": sum(splits.values()), "instances": table.num_rows, "splits": splits},
        "left_out": left_out,
        "left_out_counts": dict(sorted(Counter(one["kind"] for one in left_out).items())),
    }
    description = json.loads(json.dumps(description))  # lists for tuples, as it will be read again
    report = IngestReport(
        name=job.info.name,
        task=job.info.task,
        format=job.drop.format,
        changed=old is None or bool(merge.added or changed) or description != old.description,
        images_added=len(merge.added),
        images_relabelled=len(changed),
        images_unchanged=len(merge.known) - len(changed),
        instances_before=old.instance_count if old else 0,
        instances=table.num_rows,
        images=sum(splits.values()),
        splits=splits,
        bytes_added=merge.new_bytes,
        left_out=job.drop.problems.counts(),
        problems=job.drop.problems.to_list(),
        notes=job.drop.notes + _split_notes(splits),
        fingerprint=old.fingerprint if old else "",
    )
    return _Plan(table, description, report)


def _left_out(job: _Job, merge: Merge) -> list[dict[str, str]]:
    """What was left out, of this drop and of those before whose files have not come whole since."""
    new = job.drop.problems.to_list()
    whole = set(merge.names.values()) - {one["file"] for one in new}
    before = job.old.description.get("left_out", []) if job.old else []
    kept = [one for one in before if one["file"] not in whole and one not in new]
    return sorted([*kept, *new], key=lambda one: (one["file"], one["id"], one["kind"], one["what"]))


def _is_single(table: pa.Table) -> bool:
    """Whether no image holds more than one instance."""
    return table.num_rows == len(pc.unique(table["image_id"]))


def _typical_size(merge: Merge) -> tuple[int, int]:
    """Median width and height of all images, old and new."""
    old = merge.old
    records = [old.record(one) for one in old.image_ids] if old else []
    sizes = np.array([(record.width, record.height) for record in records], np.int32).reshape(-1, 2)
    width, height = np.median(np.concatenate([sizes, np.array(merge.sizes).reshape(-1, 2)]), axis=0)
    return int(width), int(height)


def _split_notes(splits: dict[str, int]) -> list[str]:
    empty = [split for split, count in splits.items() if count == 0]
    if not empty:
        return []
    total = sum(splits.values())
    return [
        f"{' and '.join(empty)}: no image of {total} fell there; give larger parts with --set split=0.6,0.2,0.2 when the set "
        "is made (a new --name), or add images"
    ]


def _write(job: _Job, stage: Stage) -> IngestReport:
    """Write the new version into the stage, and put it in place unless nothing changed."""
    with ShardWriter(stage.folder) as writer:
        merge = _merged(job, writer)
        writer.flush()  # the last shard goes to the disk while the rest is made
        plan = _plan(job, merge)
        if not plan.report.changed:
            return plan.report
        for shard in job.old.shards if job.old else ():
            share(shard, stage.folder)
        write_annotations(stage.folder, plan.table)
        write_description(stage.folder, plan.description)
        writer.finish()
    fingerprint = open_dataset(stage.folder).fingerprint
    stage.commit()
    return replace(plan.report, shards_added=sorted(path.name for path in writer.written), fingerprint=fingerprint)
