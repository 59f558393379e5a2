"""Compares OOD scores on the features of a trained network.

    python benchmarks/ood.py --data ROOT [--model M]

writes `results/ood.json`. Features of training slices fit each score; slices of `kaggle`'s fold 1,
which the bundled network was not trained on, are in distribution. The scores are compared on three
kinds of pictures: near (the same slices in negative, which no score has learned from; and two side
by side, as a viewer exports them, of which kind the model's own score has seen some), far (chest,
spine, photographs) and a harmless shift (healthy heads of other scanners, which should pass). `auc`
is the area under the ROC curve against slices in distribution; `fpr95` the share of these that is
refused with 95 % of the set; `refused` the share of the set that is refused with 1 % of these.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
from tumorscope.export.rebuilt_network import rebuild
from tumorscope.images import prepare
from tumorscope.images.opening import open_slices
from tumorscope.images.slices import AXES, SliceChoice
from tumorscope.inference.model_file import DEFAULT_MODEL, find_model
from tumorscope.training.recipe import load_recipe
from tumorscope.training.trained_network import FITTED, TrainedNetwork

_FOLD = 1
_BATCH = 16
_NEIGHBOURS = 5
_RESIDUAL = 64
"""So many directions hold the features; ViM looks at what is in none of them."""

Values = NDArray[np.float64]


class Seen(NamedTuple):
    """What the network makes of some pictures.

    Attributes:
        features: What its own score looks at, `[N, width, parts]`.
        logits: Not calibrated, `[N, classes]`.
        score: Its own score, `[N]`.
    """

    features: NDArray[np.float32]
    logits: Values
    score: Values

    @property
    def means(self) -> Values:
        """The mean features that the other scores look at, `[N, width]`."""
        return self.features.mean(axis=2, dtype=np.float64)


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="an ONNX file or a bundled model")
    options = parser.parse_args()
    trained = rebuild(find_model(options.model))
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
    chosen = [learned[at] for at in random.choice(len(learned), FITTED, replace=False)]
    own = [item for item, test in zip(slices, tests, strict=True) if test]
    inside = read_inputs(own, size=size, progress=progress).grey
    sets = {
        "near: in negative": np.stack([prepare(255 - grey, size) for grey in inside]),
        "near: two slices side by side": _in_pairs(inside, random),
    }
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
        command="python benchmarks/ood.py --data ROOT",
        figures={"scores": figures, "n": {name: len(grey) for name, grey in sets.items()}},
        seeds=[0],
        n=len(inside) + sum(map(len, sets.values())),
        data_fingerprint=catalogue.fingerprint(),
    )


def _in_pairs(grey: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Return pictures of two slices side by side."""
    others = grey[random.permutation(len(grey))]
    pairs = np.concatenate([grey, others], axis=2)
    return np.stack([prepare(pair, grey.shape[-1]) for pair in pairs])


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
    learned, own = look(trained, train), look(trained, inside)
    seen = {name: look(trained, grey) for name, grey in sets.items()}
    scores: dict[str, Callable[[Seen], Values]] = {
        "Mahalanobis distance": _mahalanobis(learned),
        "nearest neighbours": _neighbours(learned),
        "ViM": _vim(learned),
        "the model's": lambda pictures: pictures.score,
    }
    return {
        name: _figures(score(own), {which: score(each) for which, each in seen.items()})
        for name, score in scores.items()
    }


def look(trained: TrainedNetwork, grey: NDArray[np.uint8]) -> Seen:
    """Return what the network makes of inputs `[N, S, S]`."""
    kept: list[torch.Tensor] = []
    module = trained.network.get_submodule("ood_score")
    hook = module.register_forward_hook(lambda _, inputs, __: kept.append(inputs[0]))
    found = []
    with torch.inference_mode():
        for start in range(0, len(grey), _BATCH):
            inputs = torch.from_numpy(grey[start : start + _BATCH])[:, None].float()
            found.append(trained.network.outputs(inputs))
    hook.remove()
    scores = [outputs.ood_score for outputs in found if outputs.ood_score is not None]
    logits = torch.cat([outputs.logits for outputs in found]).double()
    return Seen(torch.cat(kept).numpy(), logits.numpy(), torch.cat(scores).double().numpy())


def _mahalanobis(train: Seen) -> Callable[[Seen], Values]:
    """Lee et al. 2018, https://arxiv.org/abs/1807.03888, with one mean for all classes."""
    fitted = LedoitWolf().fit(train.means)
    return lambda pictures: np.asarray(fitted.mahalanobis(pictures.means))


def _neighbours(train: Seen) -> Callable[[Seen], Values]:
    """Sun et al. 2022, https://arxiv.org/abs/2204.06507: to the fifth, by the cosine."""
    learned = train.means
    mean, deviation = learned.mean(axis=0), learned.std(axis=0) + 1e-3

    def direction(features: Values) -> Values:
        scaled = (features - mean) / deviation
        return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True))

    known = direction(learned)

    def distance(pictures: Seen) -> Values:
        nearness = direction(pictures.means) @ known.T
        return np.asarray(1 - np.partition(nearness, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS])

    return distance


def _vim(train: Seen) -> Callable[[Seen], Values]:
    """Wang et al. 2022, https://arxiv.org/abs/2203.10807: the residual against the logits."""
    learned = train.means
    mean = learned.mean(axis=0)
    others = np.linalg.svd(learned - mean, full_matrices=False)[2][_RESIDUAL:]

    def size(pictures: Seen) -> Values:
        return np.asarray(np.linalg.norm((pictures.means - mean) @ others.T, axis=1))

    scale = train.logits.max(axis=1).mean() / size(train).mean()
    return lambda pictures: scale * size(pictures) - logsumexp(pictures.logits, axis=1)


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
