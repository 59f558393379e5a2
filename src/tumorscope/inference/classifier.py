"""Classifies files and arrays with a model: an answer a slice, in order, failures in place."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from threading import Lock
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tumorscope.arguments import check_count, check_share, check_threads
from tumorscope.errors import ArgumentError
from tumorscope.images.opening import header_of_unreadable, open_slices
from tumorscope.images.preparation import prepare
from tumorscope.images.reading import FileInMemory, UnreadableImageError, name_of
from tumorscope.images.slice_header import SliceHeader, digest_of
from tumorscope.images.slices import File, SliceChoice, SliceImage
from tumorscope.images.suitability import why_unsuitable
from tumorscope.images.zip_archives import unpacked
from tumorscope.images.zooms import mean_over_zooms
from tumorscope.inference.arrays import InputError, as_file, check_slice, to_slice
from tumorscope.inference.decision import Decision, decide, unsupported
from tumorscope.inference.model_file import (
    DEFAULT_MODEL,
    ModelFacts,
    ModelFile,
    find_model,
    open_model,
)
from tumorscope.inference.results import Failure, Prediction
from tumorscope.inference.runtimes import Runtime
from tumorscope.inference.series_prediction import SeriesPrediction, predict_series
from tumorscope.parallel import usable_cores, work_ahead
from tumorscope.progress import Progress, silent
from tumorscope.series.finding import find_files

Input: TypeAlias = "File | NDArray[np.uint8]"
"""A file, on a disk or in memory, or a grey slice (uint8, `[height, width]`)."""

Given: TypeAlias = "Input | NDArray[Any] | Image.Image"
"""What `predict` takes: also folders, PIL images, and arrays with a value range."""

_FEW: Final = 64
"""For fewer slices than this opening the model a second time takes longer than it saves."""

_SMALL_BATCH: Final = 8
"""Slices a call on one core: what the network computes of them stays in its cache."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A slice and the model's input made from it.

    Attributes:
        image: The slice.
        grey: The input, uint8, `[S, S]`; None when the slice is not to be classified.
    """

    image: SliceImage
    grey: NDArray[np.uint8] | None


class Classifier:
    """A model at work; `Classifier.load` opens one.

    Args:
        model: The opened model file.
        threads: How many threads read and prepare slices; None for one a core.
        confident: The probability from which an answer is confident; None for the model's own.
        tta: Test-time augmentation: each slice is classified at three zooms, and the mean of the
            probabilities is the answer. A little better, three times as long.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        threads: int | None = None,
        confident: float | None = None,
        tta: bool = False,
    ) -> None:
        self._model = model
        self._threads = threads or usable_cores()
        chosen = (confident,) * len(model.facts.classes) if confident is not None else None
        self._confident = chosen or model.facts.confident
        self._tta = tta
        # What answers so is told apart wherever the model is named: in JSON and in reports.
        version = f"{model.facts.version} (tta)" if tta else model.facts.version
        self._facts = replace(model.facts, version=version)
        self._narrow: Runtime | None = None
        self._opening = Lock()

    @classmethod
    def load(
        cls,
        model: "str | os.PathLike[str] | None" = None,
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        confident: float | None = None,
        tta: bool = False,
    ) -> "Classifier":
        """Open a model.

        Args:
            model: An ONNX file that `tumorscope export` wrote, or a bundled model's name; None
                for the bundled model.
            threads: Threads of the network and of reading; None for one a core.
            providers: Execution providers by name (`cpu`, `cuda`, `tensorrt`, `openvino`,
                `coreml`, `directml`), the preferred one first; None takes what is found.
            confident: The probability from which an answer is confident; None for the model's
                own.
            tta: Whether to classify each slice at three zooms.

        Raises:
            ArgumentError: `threads` is no whole number from 1 to 1,024, `confident` none between 0
                and 1, or `providers` no list.
            ModelError: The model or the provider cannot be used.

        Examples:
            >>> import tumorscope
            >>> model = tumorscope.load()
            >>> model.facts.classes
            ('glioma', 'meningioma', 'notumor', 'pituitary')
        """
        check_threads(threads)
        if confident is not None:
            check_share("confident", confident)
        if isinstance(providers, str):
            raise ArgumentError(f"providers is a list of names, as in ['{providers}']")
        opened = open_model(
            find_model(model or DEFAULT_MODEL), threads=threads, providers=providers
        )
        return cls(opened, threads=threads, confident=confident, tta=tta)

    @property
    def confident(self) -> tuple[float, ...]:
        """The probability from which an answer is confident, class by class."""
        return self._confident

    @property
    def facts(self) -> ModelFacts:
        """What the model file says about itself; its version says so where `tta` is on."""
        return self._facts

    @property
    def tta(self) -> bool:
        """Whether each slice is classified at three zooms."""
        return self._tta

    def predict(
        self,
        inputs: "Given | Iterable[Given]",
        *,
        value_range: tuple[float, float] | None = None,
        batch_size: int = 32,
        choice: SliceChoice | None = None,
        progress: Progress = silent,
    ) -> list[Prediction | Failure]:
        """Classify files, folders, PIL images and arrays.

        Args:
            inputs: A path of a file or folder, a PIL image, an array `[height, width]`, or several
                of them. Arrays hold grey values 0 to 255, uint8; others need a `value_range`.
            value_range: What is black and what is white in the arrays, as in `(0, 1)`; what lies
                beyond is cut off.
            batch_size: Slices that the network classifies at once.
            choice: Which slices of volumes; by default those with enough head.
            progress: Shows how far the reading is.

        Returns:
            An answer for each slice, in order; a `Failure` where a file could not be read.

        Raises:
            ArgumentError: `batch_size` is no whole number of 1 or more.
            InputError: An array is not a grey slice, or something else is no input.

        Examples:
            >>> import tumorscope
            >>> from tumorscope.phantoms.drawing import draw_phantom
            >>> model = tumorscope.load()
            >>> phantom = draw_phantom("glioma", plane="axial", patient_seed=1, slice_number=2)
            >>> (answer,) = model.predict(phantom.image)
            >>> answer.path, answer.verdict in ("confident", "uncertain", "unsupported")
            ('array 0', True)
            >>> (same,) = model.predict(phantom.image / 255, value_range=(0, 1))
            >>> same.probabilities == answer.probabilities
            True
        """
        single = isinstance(inputs, (str, os.PathLike, FileInMemory, np.ndarray, Image.Image))
        items = [inputs] if single else inputs
        files: list[Input] = []
        for number, item in enumerate(cast("Iterable[Given]", items)):
            files += _expanded(item, number, value_range)
        shown = progress(files, total=len(files), label="classifying")
        return list(self.stream(shown, batch_size=batch_size, choice=choice))

    def predict_series(
        self,
        inputs: "Given | Iterable[Given]",
        *,
        value_range: tuple[float, float] | None = None,
        volume: int | None = None,
        batch_size: int = 32,
        choice: SliceChoice | None = None,
        progress: Progress = silent,
    ) -> SeriesPrediction:
        """Give one answer for a series: a volume's file, a folder, or several slices.

        Args:
            inputs: The slices of one series, as `predict` takes them; their order does not matter
                where the files tell it, and arrays stand along the body.
            value_range: What is black and what is white in arrays, as in `predict`.
            volume: Which volume of a series that holds several, from 0; None lets the most
                suspicious one decide.
            batch_size: Slices that the network classifies at once.
            choice: Which slices of volumes; by default those with enough head.
            progress: Shows how far the reading is.

        Returns:
            The answer; its `note` names files that could not be read.

        Raises:
            ArgumentError: `batch_size` or `volume` is no whole number, or too small.
            InputError: There are slices of several series, or none that can be read.

        Examples:
            >>> import tumorscope
            >>> from tumorscope.phantoms.drawing import draw_phantom
            >>> slices = [
            ...     draw_phantom("glioma", plane="axial", patient_seed=2, slice_number=n).image
            ...     for n in range(5)
            ... ]
            >>> answer = tumorscope.load().predict_series(slices)
            >>> len(answer.answers), answer.verdict in ("confident", "uncertain", "unsupported")
            (5, True)
        """
        found = self.join_series(
            self.predict(
                inputs,
                value_range=value_range,
                batch_size=batch_size,
                choice=choice,
                progress=progress,
            ),
            volume=volume,
        )
        series = [item for item in found if isinstance(item, SeriesPrediction)]
        failures = [item for item in found if isinstance(item, Failure)]
        if not series:
            what = f"{failures[0].path}: {failures[0].error}" if failures else "there are none"
            raise InputError(f"no slice can be read ({what}): give the files of a series")
        if len(series) > 1:
            named = ", ".join(item.series or item.path for item in series)
            raise InputError(f"slices of {len(series)} series ({named}): give those of one")
        unread = [f"{item.path} cannot be read ({item.error})" for item in failures]
        note = "; ".join(filter(None, [series[0].note, *unread]))
        return replace(series[0], note=note)

    def join_series(
        self, answers: Iterable[Prediction | Failure], *, volume: int | None = None
    ) -> list[SeriesPrediction | Failure]:
        """Give one answer for each series among slices that were classified.

        A `confident` that the caller chose counts for series, too.

        Args:
            answers: The answers to the slices, in any order.
            volume: Which volume of series that hold several, from 0; None lets the most suspicious
                one decide.

        Returns:
            An answer a series and the failures, in the order in which each is met first.

        Raises:
            ArgumentError: `volume` is no whole number of 0 or more.

        Examples:
            >>> import tumorscope
            >>> from tumorscope.phantoms.drawing import draw_phantom
            >>> model = tumorscope.load()
            >>> phantom = draw_phantom("notumor", plane="axial", patient_seed=3, slice_number=2)
            >>> (series,) = model.join_series(model.predict([phantom.image] * 3))
            >>> series.slices
            3
        """
        if volume is not None:
            check_count("volume", volume, least=0)
        rule = self._facts.series
        if self._confident != self._facts.confident:
            rule = replace(rule, confident=None)
        return predict_series(answers, confident=self._confident, rule=rule, volume=volume)

    def stream(
        self,
        inputs: Iterable[Input],
        *,
        batch_size: int = 32,
        choice: SliceChoice | None = None,
        keep_pictures: bool = False,
    ) -> Iterator[Prediction | Failure]:
        """Judge files and arrays one after the other, reading ahead in threads.

        Args:
            inputs: Paths of files, and arrays of uint8 `[height, width]`.
            batch_size: Slices that the network classifies at once.
            choice: Which slices of volumes; by default those with enough head.
            keep_pictures: Whether answers hold the slices, too.

        Yields:
            An answer for each slice, in order; a `Failure` where a file could not be read.

        Raises:
            ArgumentError: `batch_size` is no whole number of 1 or more.
            InputError: An array is not a grey slice.
        """
        check_count("batch_size", batch_size)

        def read(item: tuple[int, Input]) -> list[Prepared | Failure]:
            return list(self.read(item[1], choice, number=item[0]))

        def answer(group: Sequence[Prepared | Failure]) -> list[Prediction | Failure]:
            return list(self._classify(group, self._on_one_core(), keep_pictures=keep_pictures))

        ready = work_ahead(
            read, enumerate(unpacked(inputs)), threads=self._threads, ahead=2 * batch_size
        )
        # All cores together answer a few slices sooner; each on its own answers more a second.
        by_core = self._threads > 1 and self._model.runtime.on_one_core
        few = islice(ready, _FEW if by_core else None)
        for group in _grouped(few, batch_size):
            yield from self.classify(group, keep_pictures=keep_pictures)
        small = min(batch_size, self._model.runtime.batch or _SMALL_BATCH)
        yield from work_ahead(
            answer,
            _grouped(ready, small),
            threads=self._threads,
            ahead=2 * self._threads * small,
        )

    def outputs(
        self, grey: NDArray[np.uint8], *, batch_size: int = 32
    ) -> dict[str, NDArray[np.float32]]:
        """Return what the network computes for inputs that `tumorscope.images.prepare` made.

        Args:
            grey: Grey values 0 to 255, uint8, `[N, S, S]`, one or more.
            batch_size: Slices that the network classifies at once.

        Returns:
            `probabilities`, float32, `[N, classes]`, and where the model has them `logits`,
            `heatmap`, `[N, classes, h, w]`, and `ood_score`, `[N]`.

        Raises:
            ArgumentError: `batch_size` is no whole number of 1 or more.
            InputError: The array has another shape or type.
        """
        check_count("batch_size", batch_size)
        side = self.facts.input_size
        if grey.ndim != 3 or grey.shape[1:] != (side, side) or grey.dtype != np.uint8:
            raise InputError(
                f"prepared inputs are uint8 of shape [N, {side}, {side}], "
                f"not {grey.dtype} of {list(grey.shape)}"
            )
        parts = [
            self._ask(grey[start : start + batch_size], self._model.runtime)
            for start in range(0, len(grey), batch_size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def probabilities(
        self, grey: NDArray[np.uint8], *, batch_size: int = 32
    ) -> NDArray[np.float32]:
        """Classify inputs that `tumorscope.images.prepare` made.

        Args:
            grey: Grey values 0 to 255, uint8, `[N, S, S]`.
            batch_size: Slices that the network classifies at once.

        Returns:
            Probabilities, float32, `[N, classes]`.

        Raises:
            ArgumentError: `batch_size` is no whole number of 1 or more.
            InputError: The array has another shape or type.
        """
        if len(grey):
            return self.outputs(grey, batch_size=batch_size)["probabilities"]
        return np.empty((0, len(self.facts.classes)), dtype=np.float32)

    def read(
        self, item: Input, choice: SliceChoice | None = None, *, number: int = 0
    ) -> Iterator[Prepared | Failure]:
        """Read one input and prepare its slices one by one: what `stream` does in its threads.

        Args:
            item: A file, or a grey slice, uint8 `[height, width]`.
            choice: Which slices of a volume; by default those with enough head.
            number: Which of several inputs it is, for messages about arrays.

        Yields:
            The slices, prepared; a `Failure` where the file could not be read.

        Raises:
            InputError: An array is not a grey slice.
        """
        if isinstance(item, np.ndarray):
            check_slice(item, f"array {number}")
            header = SliceHeader(frame=number, instance=number, digest=digest_of(item))
            image = SliceImage(
                f"array {number}", None, item, unsupported=why_unsuitable(item), header=header
            )
            yield self._prepare(image)
            return
        path = name_of(item)
        try:
            for image in open_slices(item, choice):
                yield self._prepare(image)
        except UnreadableImageError as error:
            words = str(error).removeprefix(f"{path}: ")
            yield Failure(path, words, header_of_unreadable(item))
        except OSError as error:
            yield Failure(path, error.strerror or str(error), header_of_unreadable(item))

    def _prepare(self, image: SliceImage) -> Prepared:
        if image.unsupported or image.grey is None:
            return Prepared(image, None)
        return Prepared(image, prepare(image.grey, self.facts.input_size))

    def classify(
        self, waiting: Sequence[Prepared | Failure], *, keep_pictures: bool = False
    ) -> Iterator[Prediction | Failure]:
        """Judge what `read` returned, all at once: what `stream` does with each batch.

        Args:
            waiting: Prepared slices, of any inputs.
            keep_pictures: Whether answers hold the slices, too.

        Yields:
            An answer for each, in order.
        """
        return self._classify(waiting, self._model.runtime, keep_pictures=keep_pictures)

    def _classify(
        self, waiting: Sequence[Prepared | Failure], runtime: Runtime, *, keep_pictures: bool
    ) -> Iterator[Prediction | Failure]:
        inputs = [
            item.grey for item in waiting if isinstance(item, Prepared) and item.grey is not None
        ]
        outputs: dict[str, NDArray[np.float32]] = {}
        milliseconds = 0.0
        if inputs:
            start = time.perf_counter()
            outputs = self._ask(np.stack(inputs), runtime)
            milliseconds = 1000 * (time.perf_counter() - start) / len(inputs)
        decided = enumerate(self.decide(outputs) if outputs else [])
        for item in waiting:
            if isinstance(item, Failure):
                yield item
                continue
            picture = item.image.grey if keep_pictures else None
            if item.grey is None:
                refusal = unsupported(item.image.unsupported)
                yield self._prediction(item.image, refusal, picture)
                continue
            row, decision = next(decided)
            heatmap = None
            if decision.label is not None and "heatmap" in outputs:
                heatmap = outputs["heatmap"][row, self.facts.classes.index(decision.label)].copy()
            yield self._prediction(
                item.image, decision, picture, milliseconds=milliseconds, heatmap=heatmap
            )

    def decide(self, outputs: Mapping[str, NDArray[np.float32]]) -> list[Decision]:
        """Decide what the network's outputs say, input by input.

        Args:
            outputs: `probabilities` `[N, classes]` and, where there is one, `ood_score` `[N]`.
        """
        count = len(outputs["probabilities"])
        scores = outputs["ood_score"].tolist() if "ood_score" in outputs else [None] * count
        return [
            decide(
                probabilities,
                self.facts.classes,
                confident=self._confident,
                ood_score=score,
                ood_threshold=self.facts.ood_threshold,
            )
            for probabilities, score in zip(outputs["probabilities"].tolist(), scores, strict=True)
        ]

    def _prediction(
        self,
        image: SliceImage,
        decision: Decision,
        picture: NDArray[np.uint8] | None,
        *,
        milliseconds: float = 0.0,
        heatmap: NDArray[np.float32] | None = None,
    ) -> Prediction:
        return Prediction(
            path=image.path,
            slice=image.number,
            **decision._asdict(),
            model=self.facts.title,
            milliseconds=milliseconds,
            heatmap=heatmap,
            picture=picture,
            volume=image.volume,
            note=image.note,
            header=image.header,
            affine=image.affine,
        )

    def _on_one_core(self) -> Runtime:
        """Return the model opened for calls from several threads at once, from then on kept."""
        with self._opening:
            if self._narrow is None and self._model.runtime.on_one_core:
                self._narrow = self._model.runtime.on_one_core()
        return self._narrow or self._model.runtime

    def _ask(self, grey: NDArray[np.uint8], runtime: Runtime) -> dict[str, NDArray[np.float32]]:
        """Return the network's outputs, with the mean probabilities of three zooms if wanted."""
        run = partial(runtime.run, at_once=len(grey))
        outputs = run(grey)
        if self._tta:
            outputs["probabilities"] = mean_over_zooms(
                grey, outputs["probabilities"], lambda view: run(view)["probabilities"]
            )
        return outputs


def _grouped(
    ready: Iterable[Prepared | Failure], batch_size: int
) -> Iterator[list[Prepared | Failure]]:
    """Put together what the network classifies at once; what it does not rides along.

    Before an error the last, smaller group comes.
    """
    group: list[Prepared | Failure] = []
    to_classify = 0
    try:
        for item in ready:
            group.append(item)
            to_classify += isinstance(item, Prepared) and item.grey is not None
            if to_classify == batch_size or len(group) == 4 * batch_size:
                yield group
                group, to_classify = [], 0
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group


def _expanded(item: Given, number: int, value_range: tuple[float, float] | None) -> Sequence[Input]:
    """Return a folder's files, and anything else as `stream` takes it.

    Raises:
        InputError: It is nothing that can be classified.
    """
    if isinstance(item, Image.Image):
        return [as_file(item, f"image {number}")]
    if isinstance(item, np.ndarray):
        where = f"array {number}"
        grey = item if value_range is None else to_slice(item, where, value_range)
        if value_range is None:
            check_slice(grey, where)
        return [grey]
    if isinstance(item, FileInMemory):
        return [item]
    if not isinstance(item, (str, os.PathLike)):
        raise InputError(
            f"input {number}: a {type(item).__name__} is no path, array of NumPy or PIL image"
        )
    # (Where nobody may look, reading says so.)
    found = find_files(item).files if os.path.isdir(item) else ()  # noqa: PTH112
    return found or [item]
