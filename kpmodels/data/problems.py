"""What is wrong with a drop, collected and told all at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from kpmodels.errors import UserError

PRINTED = 50


@dataclass(frozen=True)
class Problem:
    """One thing that cannot be taken in.

    Attributes:
        kind: Short name of the kind, such as ``broken image``: what is counted.
        file: The file concerned, as the source names it.
        id: The image's or annotation's id in the source; "" where it has none.
        what: What is wrong.
        remedy: What to do about it.
    """

    kind: str
    file: str
    id: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}{f' [{self.id}]' if self.id else ''}: {self.kind}: {self.what}\n    -> {self.remedy}"


@dataclass
class Problems:
    """A list of problems that grows while a drop is read."""

    found: list[Problem] = field(default_factory=list)

    def add(self, kind: str, file: str, id: str, what: str, remedy: str) -> None:
        self.found.append(Problem(kind, file, str(id), what, remedy))

    def __len__(self) -> int:
        return len(self.found)

    def counts(self) -> dict[str, int]:
        """How many there are of each kind, by kind."""
        return dict(sorted(Counter(problem.kind for problem in self.found).items()))

    def to_list(self) -> list[dict[str, Any]]:
        return [asdict(problem) for problem in self.found]

    def error(self) -> UserError:
        """One error that names them all (the first 50 in words)."""
        kinds = ", ".join(f"{count} x {kind}" for kind, count in self.counts().items())
        lines = [f"{len(self)} problem{'s' if len(self) > 1 else ''} in the drop ({kinds}); nothing was written"]
        lines += [f"  {problem}" for problem in self.found[:PRINTED]]
        if len(self) > PRINTED:
            lines.append(f"  +{len(self) - PRINTED} more")
        return UserError("\n".join(lines), "mend them, or leave them out (and have that recorded) with --skip-bad")
