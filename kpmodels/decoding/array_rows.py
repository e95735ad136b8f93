"""Where the boxes lie in the array of the published soft-NMS, whose rows move while it works."""

from __future__ import annotations

import torch
from torch import Tensor


class ArrayRows:
    """The row of each of D boxes, for each of B images.

    The published program (CornerNet, Law and Deng, 2018) works in one array. In its step i it exchanges the best of the
    remaining boxes with the one on row i; then it goes through the rows after i, and whenever it drops a box it fills the
    row with the box on the last row and looks at that one next. The columns of the corner scores stay where they are, so
    which corner scores it reads for a box depends on these moves.
    """

    def __init__(self, present_BD: Tensor) -> None:
        self.rows_BD = torch.where(present_BD, present_BD.cumsum(1) - 1, -1)
        """-1 for boxes that are not in the array any more."""
        self.corner_rows_BD = (~present_BD).to(torch.uint8).argsort(dim=1, stable=True)
        """The box that each row held at the beginning: its corner scores stay there."""

    def take(self, index_B1: Tensor, step: int, dropped_BD: Tensor) -> Tensor:
        """Exchange the chosen box with the one on row ``step``, then drop boxes.

        Returns:
            ``[B, D]``: the box whose corner scores the program reads when it looks at each box.
        """
        rows = torch.where(self.rows_BD == step, self.rows_BD.gather(1, index_B1), self.rows_BD)
        rows = rows.scatter(1, index_B1, torch.where(rows.gather(1, index_B1) < 0, -1, step))
        seen = self._seen(rows, rows > step, dropped_BD)
        self.rows_BD = torch.where(dropped_BD, -1, seen)
        return self.corner_rows_BD.gather(1, seen.clamp(min=0))

    def _seen(self, rows_BD: Tensor, waiting_BD: Tensor, dropped_BD: Tensor) -> Tensor:
        """The row on which the program meets each box: its own, or the hole that it fills.

        The k-th hole is filled with boxes from the end until one of them stays; so a box from the end meets the hole
        whose number is that of the boxes behind it that stay.
        """
        D = rows_BD.shape[1]
        stays = waiting_BD & ~dropped_BD
        by_row = _on_rows(stays, rows_BD, waiting_BD)
        holes_by_row = _on_rows(waiting_BD & dropped_BD, rows_BD, waiting_BD)
        behind = by_row.flip(1).cumsum(1).flip(1) - by_row.long()
        numbers = torch.where(holes_by_row, holes_by_row.cumsum(1) - 1, D)
        order = torch.arange(D, device=rows_BD.device).expand_as(rows_BD)
        holes = torch.zeros_like(rows_BD).new_zeros((len(rows_BD), D + 1)).scatter(1, numbers, order)
        filled = holes.gather(1, behind.gather(1, rows_BD.clamp(min=0)))
        end = rows_BD.amax(1, keepdim=True) + 1 - holes_by_row.sum(1, keepdim=True)
        return torch.where(waiting_BD & (rows_BD >= end), filled, rows_BD)


def _on_rows(values_BD: Tensor, rows_BD: Tensor, counted_BD: Tensor) -> Tensor:
    """The values in the order of the rows, false where a row holds none."""
    D = rows_BD.shape[1]
    places = torch.where(counted_BD, rows_BD, D)
    return values_BD.new_zeros((len(rows_BD), D + 1)).scatter(1, places, values_BD)[:, :D]
