from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpmodels.losses.embedding import pull_push

close = torch.testing.assert_close
tags = st.floats(-3, 3, width=32)
images = st.lists(st.lists(st.tuples(tags, tags), max_size=5), min_size=1, max_size=3)


def padded(batch, filler=float("nan")):
    """First and second embeddings ``[B, N]`` and which are there; the rest holds the filler."""
    most = max(1, *(len(image) for image in batch))
    rows = torch.tensor([image + [(filler, filler)] * (most - len(image)) for image in batch])
    present = torch.tensor([[i < len(image) for i in range(most)] for image in batch])
    return rows[..., 0], rows[..., 1], present


def pair_by_pair(image, margin):
    """Equations 4 and 5 for one image."""
    means = [(a + b) / 2 for a, b in image]
    n = len(image)
    pull = sum((a - e) ** 2 + (b - e) ** 2 for (a, b), e in zip(image, means, strict=True)) / max(n, 1)
    apart = [max(0, margin - abs(means[i] - means[j])) for i in range(n) for j in range(n) if i != j]
    return pull, sum(apart) / max(n * (n - 1), 1)


@settings(deadline=None, max_examples=50)
@given(images, st.sampled_from([1.0, 2.5]))
def test_equals_the_equations(batch, margin):
    loss = pull_push(*padded(batch), margin)
    expected = torch.tensor([pair_by_pair(image, margin) for image in batch])
    close(torch.stack(loss, 1), expected, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(images)
def test_published_form_is_near_but_for_single_objects(batch):
    pull, push = pull_push(*padded(batch))
    their_pull, their_push = pull_push(*padded(batch), published=True)
    close(their_pull, pull, rtol=2e-4, atol=1e-5)
    single = torch.tensor([len(image) == 1 for image in batch])
    close(their_push[~single], push[~single], rtol=1e-3, atol=1e-3)
    close(their_push[single], torch.ones(int(single.sum())), rtol=1e-3, atol=1e-3)
    assert (push[single] == 0).all()


def test_no_objects_and_absent_rows_give_no_gradient():
    first, second, present = padded([[], [(0.5, 0.7)], [(0.1, 0.2), (0.3, 0.4)]])
    first.requires_grad_()
    loss = pull_push(first, second, present)
    (loss.pull_B + loss.push_B).sum().backward()
    assert loss.pull_B[0] == loss.push_B[0] == 0
    assert first.grad.isfinite().all()
    assert (first.grad[~present] == 0).all()
    nothing = pull_push(torch.zeros((2, 0)), torch.zeros((2, 0)), torch.zeros((2, 0), dtype=torch.bool))
    assert nothing.pull_B.tolist() == nothing.push_B.tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_full(dtype):
    first, second, present = padded([[(300.0, 301.0), (-300.0, -302.0)]], 0.0)
    first, second = (values.to(dtype).requires_grad_() for values in (first, second))
    loss = pull_push(first, second, present)
    assert loss.pull_B.dtype == torch.float32
    (loss.pull_B + loss.push_B).sum().backward()
    assert loss.pull_B.isfinite().all()
    assert first.grad.isfinite().all()


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn((2, 4), generator=generator, requires_grad=True) for _ in range(2))
    present = torch.tensor([[True, True, True, False], [True, False, False, False]])

    def loss(a, b):
        return sum(part.sum() for part in pull_push(a, b, present))

    gradients = torch.autograd.grad(loss(first, second), (first, second))
    direction = [torch.randn((2, 4), generator=generator) for _ in range(2)]
    step = 1e-2
    ends = [
        loss(*(x.detach() + sign * step * d for x, d in zip((first, second), direction, strict=True)))
        for sign in (1, -1)
    ]
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    close(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-2, atol=1e-3)


def test_many_objects():
    present = torch.ones((4, 500), dtype=torch.bool)
    spread = torch.arange(500.0).repeat(4, 1).requires_grad_()
    loss = pull_push(spread, spread, present)
    close(loss.pull_B, torch.zeros(4))
    close(loss.push_B, torch.zeros(4))
    loss.push_B.sum().backward()
