from __future__ import annotations

import pytest

from kpmodels.data.skeletons import flip_pairs_by_name


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("nose", "left_eye", "right_eye"), ((1, 2),)),
        (("leftear", "rightear"), ((0, 1),)),
        (("eyeL", "eyeR", "forelegR2", "forelegL2"), ((0, 1), (2, 3))),
        (("L_Hip", "R_Hip", "hip-r", "hip-l"), ((0, 1), (2, 3))),
        (("lEye", "rEye"), ((0, 1),)),
        (("LeftKnee", "RightKnee"), ((0, 1),)),
        (("LEFT KNEE", "RIGHT KNEE"), ((0, 1),)),
        (("paw1LH_top", "paw4RH_top", "tail"), ()),
        (("bright", "bleft", "tail"), ((0, 1),)),
        (("upright", "nose"), ()),
        (("leg", "reg", "lower", "rower"), ()),
        ((), ()),
    ],
)
def test_pairs_by_name(names: tuple[str, ...], pairs: tuple[tuple[int, int], ...]) -> None:
    assert flip_pairs_by_name(names) == pairs
