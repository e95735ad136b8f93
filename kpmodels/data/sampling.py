"""The order of the samples of an epoch, and who works on which: a function of (seed, epoch) alone.

An epoch is a permutation of all samples, cut into global batches of consecutive ones: one per optimizer step. Each
batch is shared out in consecutive parts among the ranks, and each rank's part among its micro-batches, as evenly as
possible. So

- each sample is seen once per epoch, whatever the number of ranks;
- step s sees the same samples with any number of ranks and micro-batches;
- every rank has the same number of micro-batches, none of them empty: a last batch with fewer samples than there
  are micro-batches on all ranks joins the batch before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kpmodels.errors import UserError

ORDER = 0x6F72646572  # keeps the order's random numbers apart from those of the samples


@dataclass(frozen=True)
class Schedule:
    """Which samples a rank sees in which step.

    Attributes:
        samples: Samples per epoch.
        batch_size: Samples per step, over all ranks and micro-batches.
        seed: Of the order.
        rank, world: Which worker of how many.
        accumulate: Micro-batches per step and rank.
        shuffle: False keeps the samples in their order.

    Raises:
        UserError: a step cannot give every micro-batch of every rank a sample.
    """

    samples: int
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    accumulate: int = 1
    shuffle: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world or self.accumulate < 1:
            raise ValueError(f"no rank {self.rank} of {self.world} with {self.accumulate} micro-batches")
        least, available = self.world * self.accumulate, min(self.batch_size, self.samples)
        if available < least:
            raise UserError(
                f"a step has {available} samples (batch_size {self.batch_size}, {self.samples} samples in all), too few "
                f"for {self.world} workers with {self.accumulate} micro-batches each",
                "use fewer workers, a smaller accumulate, or a larger batch_size",
            )

    @property
    def steps(self) -> int:
        """Optimizer steps per epoch."""
        full, rest = divmod(self.samples, self.batch_size)
        return full + (rest >= self.world * self.accumulate)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """All samples in the order of an epoch."""
        if not self.shuffle:
            return np.arange(self.samples)
        return np.random.default_rng([ORDER, self.seed, epoch]).permutation(self.samples)

    def micro_batches(self, epoch: int, start_step: int = 0) -> list[NDArray[np.int64]]:
        """The samples of this rank's micro-batches, ``accumulate`` per step, from a step on."""
        order = self.order(epoch)
        result: list[NDArray[np.int64]] = []
        for step in range(start_step, self.steps):
            end = self.samples if step == self.steps - 1 else (step + 1) * self.batch_size
            mine = np.array_split(order[step * self.batch_size : end], self.world)[self.rank]
            result += np.array_split(mine, self.accumulate)
        return result
