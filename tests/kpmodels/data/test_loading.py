"""Batches: the same from any number of processes and ranks, complete, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch

from kpmodels.config.data import AugmentOptions
from kpmodels.data.loading import eval_batches, eval_batches_with_rows, make_loader
from kpmodels.data.rows import RowPlan, in_core
from kpmodels.data.samples import ImageReader
from kpmodels.data.store import DatasetStore
from kpmodels.errors import UserError
from kpmodels.structures import Batch, Instances

PLAN = RowPlan(64, "image")


@pytest.fixture
def store(write_store: Callable) -> DatasetStore:
    """Nine images of different sizes with 0, 1 or 2 instances of three keypoints; a crowd; an unlabelled one."""
    rng = np.random.default_rng(0)
    images, truths = [], []
    for number in range(9):
        width, height = 50 + 10 * number, 40 + 3 * number
        images.append(rng.integers(0, 256, (height, width, 3), np.uint8))
        count = number % 3
        keypoints = np.concatenate([rng.uniform(5, 35, (count, 3, 2)), np.full((count, 3, 1), 2)], axis=2)
        truths.append(Instances.make(keypoints, labels=np.zeros(count), crowd=[number == 2, False][:count]))
    truths[1].keypoints[0, :, 2] = 0
    return write_store(images, truths, flip_pairs=((1, 2),))


def same(one: Batch, other: Batch) -> bool:
    tensors = [name for name, value in vars(one).items() if isinstance(value, torch.Tensor)]
    lists = ("image_ids", "instance_ids", "sizes")
    return all(torch.equal(getattr(one, n), getattr(other, n)) for n in tensors) and all(
        getattr(one, n) == getattr(other, n) for n in lists
    )


def all_same(some: Iterable[Batch], others: Iterable[Batch]) -> bool:
    return all(same(one, other) for one, other in zip(some, others, strict=True))


class TestTraining:
    def test_a_batch_is_what_the_contract_says(self, store: DatasetStore) -> None:
        batch = next(iter(make_loader(store, "train", PLAN, AugmentOptions(), batch_size=4)))
        rows, most = batch.keypoints_BNK3.shape[:2]
        assert batch.images_B3HW.shape == (4, 3, 64, 64)
        assert batch.images_B3HW.dtype == torch.uint8
        assert batch.keypoints_BNK3.shape == (rows, most, 3, 3)
        assert batch.boxes_BN4.shape == (rows, most, 4)
        assert (batch.labels_BN.dtype, batch.crowd_BN.dtype, batch.present_BN.dtype) == (
            torch.int64,
            torch.bool,
            torch.bool,
        )
        for name in ("keypoints_BNK3", "boxes_BN4", "areas_BN", "to_original_B23"):
            assert getattr(batch, name).dtype == torch.float32
        assert (batch.keypoints_BNK3[~batch.present_BN] == 0).all()
        assert batch.to_original_B23.shape == (4, 2, 3)
        assert [store.record(one).width for one in batch.image_ids] == [width for width, _ in batch.sizes]

    def test_processes_and_threads_do_not_change_anything(self, store: DatasetStore) -> None:
        options = AugmentOptions(noise=5, erase=0.5, blur=0.5)
        state = torch.get_rng_state()
        plain = make_loader(store, "train", PLAN, options, batch_size=4, prefetch=0)
        ahead = make_loader(store, "train", PLAN, options, batch_size=4, prefetch=2, decoded_bytes=0)
        spread = make_loader(store, "train", PLAN, options, batch_size=4, processes=2)
        seen = []
        for epoch in range(2):
            for loader in (plain, ahead, spread):
                loader.set_epoch(epoch)
            seen.append(list(plain))
            assert len(plain) == len(seen[-1]) == 3
            assert all_same(seen[-1], ahead)
            assert all_same(seen[-1], spread)
        assert not same(seen[0][0], seen[1][0])
        spread.set_epoch(1, start_step=2)
        assert all_same(seen[1][2:], spread)
        assert torch.equal(torch.get_rng_state(), state)

    def test_an_iteration_that_is_given_up_leaves_no_trace(self, store: DatasetStore) -> None:
        loader = make_loader(store, "train", PLAN, AugmentOptions(), batch_size=2, prefetch=2)
        first = next(iter(loader))
        assert same(first, next(iter(loader)))
        assert len(list(loader)) == 5

    @pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 2), (2, 2)])
    def test_ranks_share_the_batches_of_one(self, store: DatasetStore, world: int, accumulate: int) -> None:
        alone = make_loader(store, "train", PLAN, AugmentOptions(), batch_size=4, prefetch=0)
        parts = [
            list(
                make_loader(
                    store, "train", PLAN, AugmentOptions(), batch_size=4, rank=r, world=world, accumulate=accumulate
                )
            )
            for r in range(world)
        ]
        step = [micro for part in parts for micro in part[:accumulate]]
        whole = next(iter(alone))
        assert torch.equal(torch.cat([micro.images_B3HW for micro in step]), whole.images_B3HW)
        assert [one for micro in step for one in micro.image_ids] == whole.image_ids
        everything = [one for part in parts for micro in part for one in micro.image_ids]
        assert sorted(everything) == store.image_ids

    def test_a_resumed_epoch_equals_the_rest_of_a_whole_one(self, store: DatasetStore) -> None:
        loader = make_loader(store, "train", PLAN, AugmentOptions(), batch_size=2, accumulate=2, seed=3)
        loader.set_epoch(4)
        whole = list(loader)
        loader.set_epoch(4, start_step=1)
        assert all_same(whole[2:], loader)
        assert len(loader) == len(whole) == loader.steps_per_epoch * 2

    def test_box_rows_are_single_labelled_instances(self, store: DatasetStore) -> None:
        loader = make_loader(store, "train", RowPlan(64, "box"), AugmentOptions(), batch_size=3)
        batches = list(loader)
        assert all(batch.keypoints_BNK3.shape[1] == 1 for batch in batches)
        assert all(batch.present_BN.all() for batch in batches)
        expected = []
        for one in store.image_ids:
            truth = store.instances(one)
            expected += [i for i, row in zip(truth.ids, truth.keypoints, strict=True) if row[:, 2].any()]
        crowds = [i for one in store.image_ids for i in np.array(store.instances(one).ids)[store.instances(one).crowd]]
        assert sorted(i for batch in batches for i in batch.instance_ids) == sorted(set(expected) - set(crowds))
        assert len(crowds) == 1

    def test_image_and_box_rows_mix(self, store: DatasetStore) -> None:
        loader = make_loader(store, "train", RowPlan(64, "image+box"), AugmentOptions(scale=0), batch_size=32)
        scales: dict[str, set[float]] = {}
        for epoch in range(6):
            loader.set_epoch(epoch)
            for batch in loader:
                for row, name in enumerate(zip(batch.image_ids, batch.instance_ids, strict=True)):
                    scale = float(torch.linalg.det(batch.to_original_B23[row, :, :2]).abs().sqrt())
                    scales.setdefault("/".join(name), set()).add(round(scale, 3))
        images = {name.split("/")[0] for name in scales}
        assert images == set(store.image_ids)
        assert all(len(some) <= 2 for some in scales.values())
        assert sum(len(some) == 2 for some in scales.values()) >= 5
        assert all(len(some) == 1 for name, some in scales.items() if name.endswith("/"))

    def test_tiles_show_a_part_at_the_asked_scale(self, store: DatasetStore) -> None:
        options = AugmentOptions(scale=0, rotation=0, translation=0)
        loader = make_loader(store, "train", RowPlan(64, "tile", tile_scale=2), options, batch_size=9)
        origins = set()
        for epoch in range(3):
            loader.set_epoch(epoch)
            (batch,) = list(loader)
            assert torch.linalg.det(batch.to_original_B23[:, :, :2]).abs().allclose(torch.tensor(0.25))
            corners = batch.to_original_B23 @ torch.tensor([[0, 63.0], [0, 63], [1, 1]])
            assert corners.min() >= -0.5
            assert (corners.amax(2) <= torch.tensor(batch.sizes) - 0.5).all()
            origins |= {tuple(origin) for origin in corners[:, :, 0].round(decimals=2).tolist()}
        assert len(origins) > 20

    def test_nothing_to_learn_from_is_the_users_mistake(self, write_store: Callable) -> None:
        store = write_store([np.zeros((9, 9, 3), np.uint8)], [Instances.empty(2)])
        with pytest.raises(UserError, match="no labelled instance"):
            make_loader(store, "train", RowPlan(64, "box"), AugmentOptions(), batch_size=1)
        with pytest.raises(UserError, match="split test has 0 images"):
            make_loader(store, "test", PLAN, AugmentOptions(), batch_size=1)
        (batch,) = make_loader(store, "train", PLAN, AugmentOptions(), batch_size=1)
        assert not batch.present_BN.any()

    @pytest.mark.parametrize(("suffix", "scale"), [(".jpg", (1 / 2, 1 / 2)), (".png", (53 / 105, 31 / 61))])
    def test_reduced_images_know_their_scale(self, write_store: Callable, suffix: str, scale: tuple) -> None:
        """A JPEG is scaled in the DCT, exactly by half though the sides are odd; others by area to whole pixels."""
        store = write_store([np.zeros((61, 105, 3), np.uint8)], [Instances.empty(1)], suffix=suffix)
        reader = ImageReader(store, store.image_ids)
        assert reader.pixels(0, 2).pixels_HW3.shape == (31, 53, 3)
        assert reader.pixels(0, 2).scale_xy == scale
        assert reader.pixels(0).pixels_HW3.shape == (61, 105, 3)
        assert reader.pixels(0).scale_xy == (1, 1)

    @pytest.mark.parametrize(("processes", "prefetch"), [(0, 0), (0, 1), (1, 1)])
    def test_a_wrong_size_names_the_image(self, store: DatasetStore, processes: int, prefetch: int) -> None:
        one = store.image_ids[0]
        object.__setattr__(store.record(one), "width", 9999)
        loader = make_loader(
            store, "train", PLAN, AugmentOptions(), batch_size=2, processes=processes, prefetch=prefetch
        )
        with pytest.raises(UserError, match=rf"^image {one} \(\d+\.png\): "):
            list(loader)


class TestEvaluation:
    @pytest.mark.parametrize("region", ["image", "image+box"])
    def test_each_image_once_in_order_and_never_random(self, store: DatasetStore, region: str) -> None:
        plan = RowPlan(64, region)  # type: ignore[arg-type]
        ids = store.image_ids[::-1]
        batches = list(eval_batches(store, ids, plan, 4))
        assert [one for batch in batches for one in batch.image_ids] == ids
        assert [len(batch) for batch in batches] == [4, 4, 1]
        assert all_same(batches, eval_batches(store, ids, plan, 4))
        loader = make_loader(store, "train", plan, None, batch_size=4, prefetch=0)
        assert [one for batch in loader for one in batch.image_ids] == store.image_ids

    def test_shards_of_ids_add_up(self, store: DatasetStore) -> None:
        parts = [list(eval_batches(store, store.image_ids[rank::4], PLAN, 2)) for rank in range(4)]
        assert sorted(one for part in parts for batch in part for one in batch.image_ids) == store.image_ids
        assert list(eval_batches(store, [], PLAN, 2)) == []

    def test_truth_maps_back_to_the_store(self, store: DatasetStore) -> None:
        for batch in eval_batches(store, store.image_ids, RowPlan(64, "box"), 3):
            for row, (image, instance) in enumerate(zip(batch.image_ids, batch.instance_ids, strict=True)):
                truth = store.instances(image)
                keypoints_K3 = truth.keypoints[truth.ids.index(instance)]
                seen = batch.keypoints_BNK3[row, 0, :, 2].numpy() > 0
                moved = batch.keypoints_BNK3[row, 0, :, :2].numpy()
                back = moved @ batch.to_original_B23[row, :, :2].numpy().T + batch.to_original_B23[row, :, 2].numpy()
                assert np.abs(back - keypoints_K3[:, :2])[seen].max() < 1e-3
                assert seen.all()

    def test_tiles_hold_each_point_in_one_core(self, store: DatasetStore) -> None:
        plan = RowPlan(64, "tile", tile_scale=2)
        found = dict.fromkeys(store.image_ids, 0)
        for batch, rows in eval_batches_with_rows(store, store.image_ids, plan, 5):
            assert len(batch) == len(rows)
            for image, row in zip(batch.image_ids, rows, strict=True):
                found[image] += len(in_core(store.instances(image), row))
        assert found == {one: len(store.instances(one)) for one in store.image_ids}
