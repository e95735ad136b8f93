"""What an ingest did, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class IngestReport:
    """The outcome of ``build_version``.

    Attributes:
        name, task, format: Of the data set, and of the labels that were read.
        changed: False when the drop brought nothing new; the folder was not touched then.
        dry_run: True when nothing was written because nothing was to be.
        images_added, images_relabelled, images_unchanged: Of the drop.
        instances_before, instances: Of the data set.
        images: Of the data set after the drop.
        splits: Images per split after the drop.
        bytes_added: Encoded bytes of the new images.
        shards_added: Names of the new files.
        left_out: How many entries were left out (``skip_bad``), by kind.
        problems: Those entries.
        notes: What the user should know.
        fingerprint: Of the data set after the drop; "" for a dry run.
    """

    name: str
    task: str
    format: str
    changed: bool = True
    dry_run: bool = False
    images_added: int = 0
    images_relabelled: int = 0
    images_unchanged: int = 0
    instances_before: int = 0
    instances: int = 0
    images: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    bytes_added: int = 0
    shards_added: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    problems: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fingerprint: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.name}: {self.task} data read as {self.format}",
            f"  images: {self.images_added} added, {self.images_relabelled} relabelled, {self.images_unchanged} as before; "
            f"{self.images} now",
            f"  instances: {self.instances_before} before, {self.instances} now",
            "  splits: " + ", ".join(f"{split} {count}" for split, count in self.splits.items()),
            f"  new bytes of images: {self.bytes_added} in {len(self.shards_added)} new files",
        ]
        if self.left_out:
            lines.append("  left out: " + ", ".join(f"{count} x {kind}" for kind, count in self.left_out.items()))
            lines += [
                f"    {p['file']}{' [' + p['id'] + ']' if p['id'] else ''}: {p['what']}" for p in self.problems[:20]
            ]
            if len(self.problems) > 20:
                lines.append(f"    +{len(self.problems) - 20} more, all of them in dataset.json")
        lines += [f"  note: {note}" for note in self.notes]
        if not self.changed:
            lines.append("  nothing new: the data set is as it was")
        elif self.dry_run:
            lines.append("  dry run: nothing was written")
        return "\n".join(lines)
