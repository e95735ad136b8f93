from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.decoding.subpixel import decode_udp_combined
from kpmodels.targets.offsets import udp_combined

close = torch.testing.assert_close


def test_values_by_hand():
    maps, weights = udp_combined(torch.tensor([[[2.0, 1.0, 2.0], [2.0, 1.0, 0.0]]]), (3, 5), radius=1.0)
    assert maps.shape == (1, 2, 3, 3, 5)
    expected = torch.tensor([[0.0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]])
    close(maps[0, 0, 0], expected)
    close(maps[0, 0, 1, 0], torch.tensor([2.0, 1, 0, -1, -2]))
    close(maps[0, 0, 2, :, 0], torch.tensor([1.0, 0, -1]))
    assert maps[0, 1].abs().sum() == 0
    assert weights.tolist() == [[1.0, 0.0]]


@settings(max_examples=40, deadline=None)
@given(x=st.floats(0, 47), y=st.floats(0, 31), radius=st.floats(2, 5))
def test_encoding_and_decoding_gives_the_point_back(x, y, radius):
    maps, _ = udp_combined(torch.tensor([[[x, y, 1.0], [0, 0, 0]]]), (32, 48), radius)
    xy, scores = decode_udp_combined(maps, radius)
    close(xy[0, 0], torch.tensor([x, y]), rtol=0, atol=1e-3)
    assert xy[0, 1].tolist() == [-1, -1]
    assert scores[0, 0] > 0
    assert scores[0, 1] == 0


def test_maps_smaller_than_the_blur():
    maps, _ = udp_combined(torch.tensor([[[1.0, 0.0, 1.0]]]), (1, 3), 2.0)
    xy, _ = decode_udp_combined(maps, 2.0)
    close(xy[0, 0], torch.tensor([1.0, 0.0]))
