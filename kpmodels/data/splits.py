"""Which part of a data set an image belongs to: a stable hash of its content, or of its group (a video, a person).

The rule looks at nothing but the key, so that new images never move old ones, and the same image never sits in two.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SplitRule:
    """Fractions of train, val and test; they add up to 1. ``salt`` draws another division of the same images."""

    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    salt: str = ""

    def __post_init__(self) -> None:
        fractions = (self.train, self.val, self.test)
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
            raise ValueError(f"split fractions {fractions} are not three numbers from 0 that add up to 1")

    @classmethod
    def of(cls, fractions: tuple[float, ...], salt: str = "") -> SplitRule:
        """The rule of three fractions; the usual one where none are given."""
        if not fractions:
            return cls(salt=salt)
        train, val, test = fractions
        return cls(train, val, test, salt)

    def to_dict(self) -> dict[str, Any]:
        return {"rule": "hash", "train": self.train, "val": self.val, "test": self.test, "salt": self.salt}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> SplitRule:
        train, val, test = (float(content[name]) for name in SPLITS)
        return cls(train, val, test, salt=str(content.get("salt", "")))


def split_of(key: str, rule: SplitRule) -> str:
    """``train``, ``val`` or ``test`` for a group or, where there is none, an image id.

    The first 64 bits of sha256(salt, key), read as a fraction of 1, fall into the first ``train`` part, the next
    ``val`` part or the rest.
    """
    digest = hashlib.sha256(f"{rule.salt}\n{key}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < rule.train:
        return "train"
    if position < rule.train + rule.val or rule.test == 0:
        return "val" if rule.val > 0 else "train"
    return "test"


def split_key(image_id: str, group: str) -> str:
    """What decides an image's split: its group where it has one."""
    return f"group:{group}" if group else image_id
