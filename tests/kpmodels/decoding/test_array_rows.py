"""The moves of rows in the published soft-NMS, against the same moves made one by one."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.decoding.array_rows import ArrayRows


class MovingArray:
    """An array whose rows hold boxes; what is on a row at the beginning stays there as its corner scores."""

    def __init__(self, present):
        self.boxes = [box for box, there in enumerate(present) if there]
        self.corners = list(self.boxes)

    def take(self, chosen, step, dropped):
        """The corner scores that are read for each box that is looked at, by the number of the box."""
        place = self.boxes.index(chosen)
        self.boxes[step], self.boxes[place] = self.boxes[place], self.boxes[step]
        read, row = {chosen: self.corners[step]}, step + 1
        while row < len(self.boxes):
            box = self.boxes[row]
            read[box] = self.corners[row]
            if dropped[box]:
                self.boxes[row] = self.boxes[-1]
                self.boxes.pop()
            else:
                row += 1
        return read


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from([0.0, 0.2, 0.6]))
def test_equals_the_moves_one_by_one(seed, number, share):
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand((2, number), generator=generator) < 0.8
    ours, theirs = ArrayRows(present), [MovingArray(image) for image in present.tolist()]
    waiting = present.clone()
    for step in range(number):
        chosen = torch.where(waiting, torch.rand((2, number), generator=generator), -1).argmax(1, keepdim=True)
        alive = waiting.any(1).tolist()
        waiting = waiting.scatter(1, chosen, False)
        dropped = waiting & (torch.rand((2, number), generator=generator) < share)
        read = ours.take(chosen, step, dropped)
        for image, array in enumerate(theirs):
            if alive[image]:
                expected = array.take(int(chosen[image]), step, dropped[image].tolist())
                assert {box: int(read[image, box]) for box in expected} == expected
        waiting = waiting & ~dropped
