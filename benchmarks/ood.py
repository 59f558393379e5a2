"""Compares OOD scores on the features of a trained network.

    python benchmarks/ood.py RUN --data ROOT

writes `results/ood.json`. RUN is what `bundle_model.py` made. Features of training slices fit each
score; slices of `kaggle`'s fold 1, which the network was not trained on, are in distribution. The
scores are compared on three kinds of pictures: near (the same slices cut into tiles that are put
together otherwise), far (chest, spine, photographs) and a harmless shift (healthy heads of other
scanners, which should pass). `auc` is the area under the ROC curve against slices in distribution;
`fpr95` the share of these that is refused with 95 % of the set; `refused` the share of the set that
is refused with 1 % of these.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from record import write_record
from tumorscope.cli.show import progress
from tumorscope.datasets.inputs import read_inputs
from tumorscope.datasets.sources import read_data
from tumorscope.images import prepare
from tumorscope.images.opening import open_slices
from tumorscope.images.slices import AXES, SliceChoice
from tumorscope.training.recipe import load_recipe
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import TrainedNetwork, load_weights

_FITTED = 4000
_FOLD = 1
_TILES = (2, 4, 5)
_NEIGHBOURS = 5
_RESIDUAL = 64
"""So many directions hold the features; ViM looks at what is in none of them."""

Values = NDArray[np.float64]


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    options = parser.parse_args()
    trained = load_weights(RunFolder(options.run).weights_file)
    random, size = np.random.default_rng(0), trained.description.input_size
    names = load_recipe("edge").training.shares
    catalogue = read_data([options.data / name for name in names], progress=progress)
    slices = [
        item
        for item in catalogue.slices
        if not item.doubt and item.label in trained.description.classes
    ]
    tests = [item.source == "kaggle" and item.fold == _FOLD for item in slices]
    learned = [item for item, test in zip(slices, tests, strict=True) if not test]
    chosen = [learned[at] for at in random.choice(len(learned), _FITTED, replace=False)]
    own = [item for item, test in zip(slices, tests, strict=True) if test]
    inside = read_inputs(own, size=size, progress=progress).grey
    sets = {"near: the slices in tiles": _in_tiles(inside, random)}
    for folder in sorted((options.data / "not_brain_mri").iterdir()):
        sets[f"far: {folder.name}"] = _read(sorted(folder.iterdir()), size)
    child = options.data / "dicom/healthy_child_t1"
    sets["harmless: a child's series"] = _read(sorted(child.iterdir()), size)
    icbm = options.data / "nifti/icbm152_t1.nii.gz"
    sets["harmless: ICBM 152"] = np.concatenate(
        [_read([icbm], size, SliceChoice(axis=axis)) for axis in AXES]
    )
    train = read_inputs(chosen, size=size, progress=progress).grey
    figures = _compare(trained, train, inside, sets)
    write_record(
        "ood",
        command="python benchmarks/ood.py RUN --data ROOT",
        figures={"scores": figures, "n": {name: len(grey) for name, grey in sets.items()}},
        seeds=[0],
        n=len(inside) + sum(map(len, sets.values())),
        data_fingerprint=catalogue.fingerprint(),
    )


def _in_tiles(grey: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Return pictures cut into tiles that are put together at random."""
    found = []
    for number, picture in enumerate(grey):
        count = _TILES[number % len(_TILES)]
        side = len(picture) // count
        whole = picture[: side * count, : side * count]
        tiles = whole.reshape(count, side, count, side).swapaxes(1, 2).reshape(-1, side, side)
        mixed = random.permutation(tiles).reshape(count, count, side, side).swapaxes(1, 2)
        found.append(np.pad(mixed.reshape(whole.shape), (0, len(picture) - len(whole))))
    return np.stack(found)


def _read(files: Sequence[Path], size: int, choice: SliceChoice | None = None) -> NDArray[np.uint8]:
    images = [image.grey for path in files for image in open_slices(path, choice)]
    return np.stack([prepare(grey, size) for grey in images if grey is not None])


def _compare(
    trained: TrainedNetwork,
    train: NDArray[np.uint8],
    inside: NDArray[np.uint8],
    sets: Mapping[str, NDArray[np.uint8]],
) -> dict[str, Any]:
    """Return the figures of each score and set."""
    learned = _features(trained, train)
    fitted = {
        "Mahalanobis distance": _mahalanobis(learned),
        "nearest neighbours": _neighbours(learned),
        "ViM": _vim(learned, trained.logits(train)),
    }
    seen = {name: (_features(trained, grey), trained.logits(grey)) for name, grey in sets.items()}
    own = _features(trained, inside), trained.logits(inside)
    found = {
        score: _figures(work(*own), {name: work(*each) for name, each in seen.items()})
        for score, work in fitted.items()
    }
    scores = {name: _shipped(trained, grey) for name, grey in sets.items()}
    return found | {"the model's": _figures(_shipped(trained, inside), scores)}


def _features(trained: TrainedNetwork, grey: NDArray[np.uint8]) -> Values:
    """Return the mean features that the network's own score looks at, `[N, width]`."""
    kept: list[torch.Tensor] = []
    hook = trained.network.get_submodule("ood_score").register_forward_hook(
        lambda _module, inputs, _output: kept.append(inputs[0])
    )
    trained.ood_score(grey)
    hook.remove()
    return np.asarray(torch.cat(kept).double().numpy())


def _shipped(trained: TrainedNetwork, grey: NDArray[np.uint8]) -> Values:
    found = trained.ood_score(grey)
    assert found is not None
    return found.astype(np.float64)


def _mahalanobis(train: Values) -> Callable[[Values, Values], Values]:
    """Lee et al. 2018, https://arxiv.org/abs/1807.03888, with one mean for all classes."""
    fitted = LedoitWolf().fit(train)
    return lambda features, _: np.asarray(fitted.mahalanobis(features))


def _neighbours(train: Values) -> Callable[[Values, Values], Values]:
    """Sun et al. 2022, https://arxiv.org/abs/2204.06507: to the fifth, by the cosine."""
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-3

    def direction(features: Values) -> Values:
        scaled = (features - mean) / deviation
        return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True))

    known = direction(train)
    return lambda features, _: (
        1 - np.partition(direction(features) @ known.T, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS]
    )


def _vim(train: Values, logits: Values) -> Callable[[Values, Values], Values]:
    """Wang et al. 2022, https://arxiv.org/abs/2203.10807: the residual against the logits."""
    mean = train.mean(axis=0)
    others = np.linalg.svd(train - mean, full_matrices=False)[2][_RESIDUAL:]

    def size(features: Values) -> Values:
        return np.asarray(np.linalg.norm((features - mean) @ others.T, axis=1))

    scale = logits.max(axis=1).mean() / size(train).mean()
    return lambda features, values: scale * size(features) - logsumexp(values, axis=1)


def _figures(inside: Values, sets: Mapping[str, Values]) -> dict[str, Any]:
    limit = np.quantile(inside, 0.99)
    return {
        name: {
            "auc": round(
                float(
                    roc_auc_score(
                        np.repeat([0, 1], [len(inside), len(values)]),
                        np.concatenate([inside, values]),
                    )
                ),
                4,
            ),
            "fpr95": round(float(np.mean(inside >= np.quantile(values, 0.05))), 4),
            "refused": round(float(np.mean(values > limit)), 4),
        }
        for name, values in sets.items()
    }


if __name__ == "__main__":
    main()
