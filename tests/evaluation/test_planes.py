"""Planes told by self-training, and scores plane by plane."""

import numpy as np

from tumorscope.classes import TUMOUR_CLASSES
from tumorscope.evaluation import Predictions
from tumorscope.evaluation.planes import score_by_plane, tell_planes


def test_planes_are_told_across_a_shift_that_the_asked_slices_share() -> None:
    random = np.random.default_rng(0)
    centres = 3 * np.tile(np.eye(3), 8)
    names = np.array(["axial", "coronal", "sagittal"])
    which, asked = random.integers(0, 3, 90), random.integers(0, 3, 300)
    known = centres[which] + random.normal(0, 0.6, (90, 24))
    shifted = centres[asked] + random.normal(0, 0.6, (300, 24)) + 0.4
    told = tell_planes(known, names[which], shifted)
    assert (told == names[asked]).mean() > 0.97


def test_each_plane_has_its_own_metrics() -> None:
    table = Predictions(
        classes=TUMOUR_CLASSES,
        names=("a", "b", "c"),
        labels=("glioma", "glioma", "pituitary"),
        groups=("p", "q", "r"),
        clusters=("a", "b", "c"),
        probabilities=np.eye(3)[[0, 1, 2]],
        folds=(1, 1, 2),
    )
    levels = score_by_plane(table, ["axial", "coronal", "axial"])
    assert {plane: (level.n, level.right) for plane, level in levels.items()} == {
        "axial": (2, 2),
        "coronal": (1, 0),
    }
