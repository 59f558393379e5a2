"""Measures how fast a model file answers in each runtime, and its memory."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tumorscope.errors import DataError, ModelError
from tumorscope.images import UnreadableImageError, prepare, read_slice
from tumorscope.inference.classifier import Classifier
from tumorscope.inference.model_file import ModelFile, open_model
from tumorscope.inference.runtimes import installed_runtimes, runtime_version, to_inputs
from tumorscope.latency.timing_process import ProcessCost, start_process
from tumorscope.machine import processor
from tumorscope.parallel import usable_cores, work_ahead
from tumorscope.progress import Progress, silent

BATCH: Final = 32
"""Slices a call where throughput is measured, unless the model's batch is fixed."""

_WARM_UP: Final = 10
_PROCESSES: Final = 3
_PASSES: Final = 3
_READING_ALONE: Final = ""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one runtime takes.

    Attributes:
        runtime: Its name, one of `installed_runtimes`.
        version: The version of the package that it is part of.
        p50_ms: Median time of a call with `latency_batch` slices, in milliseconds.
        p95_ms: The time that 95 of 100 calls keep.
        p99_ms: The time that 99 of 100 calls keep.
        latency_batch: 1, unless the model's batch is fixed.
        images_per_second: Slices a second in calls of `throughput_batch` (median call).
        throughput_batch: `BATCH`, unless the model's batch is fixed.
        cold_start_seconds: From the start of a process to its first answer to a picture (median).
        files_per_second: Picture files a second, read, prepared and classified (median pass).
        peak_memory_mib: Largest resident memory of a process that classified a picture and a batch;
            None where the system does not tell.
    """

    runtime: str
    version: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    latency_batch: int
    images_per_second: float
    throughput_batch: int
    cold_start_seconds: float
    files_per_second: float
    peak_memory_mib: float | None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """How fast a model is on this machine.

    Attributes:
        model: Name and version.
        size_bytes: Of the file.
        input_size: Side of the input in pixels.
        processor: The machine's.
        threads: Threads of the network and of reading.
        calls: How many calls with one slice were timed in each runtime.
        files: How many picture files a pass read.
        reading_files_per_second: Files a second that are only read and prepared: what
            `files_per_second` could reach with a network that takes no time.
        runtimes: What each runtime takes.
        refused: Runtimes that are installed but could not open the model, with the reason.
        unreadable: Files that could not be read and were left out, with the reason.
    """

    model: str
    size_bytes: int
    input_size: int
    processor: str
    threads: int
    calls: int
    files: int
    reading_files_per_second: float
    runtimes: tuple[Timing, ...]
    refused: Mapping[str, str]
    unreadable: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all figures by name."""
        return asdict(self)


def benchmark(
    path: Path,
    files: Sequence[Path],
    *,
    runtimes: Sequence[str] | None = None,
    threads: int | None = None,
    calls: int = 500,
    progress: Progress = silent,
) -> Benchmark:
    """Measure a model in several runtimes, call by call in turn, so that noise hits all alike.

    Args:
        path: The ONNX file.
        files: JPEG or PNG files; one may stand there several times.
        runtimes: Some of `installed_runtimes`; None for all of them that can open the model.
        threads: Threads of the network and of reading; None for one a core.
        calls: Timed calls with one slice in each runtime, at least 1.
        progress: Shows how far each part is.

    Raises:
        ModelError: The model cannot be opened, or a runtime that was asked for not used.
        DataError: None of the files can be read.
    """
    threads = threads or usable_cores()
    models, refused = _open_all(path, runtimes, threads)
    facts = next(iter(models.values())).facts
    usable, inputs, unreadable = _read_all(files, facts.input_size)
    latencies = _time_calls(models, inputs, 1, calls, progress)
    batches = _time_calls(models, inputs, BATCH, max(5, calls // 20), progress)
    passes = _time_passes(models, usable, threads, progress)
    processes = _time_processes(models, path, usable[0], threads, progress)
    return Benchmark(
        model=facts.title,
        size_bytes=path.stat().st_size,
        input_size=facts.input_size,
        processor=processor(),
        threads=threads,
        calls=calls,
        files=len(usable),
        reading_files_per_second=_figure(len(usable) / median(passes[_READING_ALONE])),
        runtimes=tuple(
            _timing(
                name, model, latencies[name], batches[name], len(usable) / median(passes[name]),
                processes[name],
            )
            for name, model in models.items()
        ),
        refused=refused,
        unreadable=unreadable,
    )  # fmt: skip


def take_turns(
    asks: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = _WARM_UP,
    lead: int = 0,
    progress: Progress = silent,
    label: str = "timing",
) -> dict[str, NDArray[np.float64]]:
    """Time calls of several functions, each once in every round.

    Args:
        asks: The functions by name.
        rounds: How often each is timed, at least 1.
        warm_up: Rounds before that, not timed.
        lead: Calls before each timed one, not timed: they find the caches as they leave them.
        progress: Shows how far the rounds are.
        label: What the progress is called.

    Returns:
        For each name the seconds that its calls took, float64, `[rounds]`.
    """
    seconds = {name: np.zeros(rounds) for name in asks}
    for number in progress(range(-warm_up, rounds), total=warm_up + rounds, label=label):
        for name, ask in asks.items():
            for _ in range(lead):
                ask()
            began = time.perf_counter()
            ask()
            if number >= 0:
                seconds[name][number] = time.perf_counter() - began
    return seconds


def _open_all(
    path: Path, runtimes: Sequence[str] | None, threads: int
) -> tuple[dict[str, ModelFile], dict[str, str]]:
    """Open the model in every runtime; those not asked for by name may refuse it."""
    if runtimes is not None:
        return {name: open_model(path, runtime=name, threads=threads) for name in runtimes}, {}
    first, *others = installed_runtimes()
    models, refused = {first: open_model(path, runtime=first, threads=threads)}, {}
    for name in others:
        try:
            models[name] = open_model(path, runtime=name, threads=threads)
        except ModelError as error:
            refused[name] = str(error)
    return models, refused


def _read_all(
    files: Sequence[Path], side: int
) -> tuple[list[Path], NDArray[np.float32], tuple[str, ...]]:
    """Return the files that can be read, up to `BATCH` inputs made of them, and complaints."""
    usable: list[Path] = []
    inputs: list[NDArray[np.uint8]] = []
    unreadable: list[str] = []
    for file in files:
        try:
            grey = read_slice(file)
        except UnreadableImageError as error:
            unreadable.append(str(error))
            continue
        usable.append(file)
        if len(inputs) < BATCH:
            inputs.append(prepare(grey, side))
    if not usable:
        what = unreadable[0] if unreadable else "there are none"
        raise DataError(f"no picture can be read ({what}): name a folder of JPEG or PNG files")
    return usable, to_inputs(np.stack(inputs)), tuple(dict.fromkeys(unreadable))


def _time_calls(
    models: Mapping[str, ModelFile],
    inputs: NDArray[np.float32],
    batch: int,
    calls: int,
    progress: Progress,
) -> dict[str, NDArray[np.float64]]:
    """Time the networks alone, with all their outputs, as `predict` asks for them."""

    def ask(model: ModelFile) -> Callable[[], object]:
        given = np.resize(inputs, (model.runtime.batch or batch, *inputs.shape[1:]))
        return partial(model.runtime.ask, given)

    asks = {name: ask(model) for name, model in models.items()}
    label = f"timing {batch} a call"
    return take_turns(asks, rounds=calls, progress=progress, label=label)


def _time_passes(
    models: Mapping[str, ModelFile], files: Sequence[Path], threads: int, progress: Progress
) -> dict[str, NDArray[np.float64]]:
    """Time whole passes over the files: reading alone, then with each runtime's answers."""
    side = next(iter(models.values())).facts.input_size

    def read() -> None:
        def prepared(file: Path) -> list[NDArray[np.uint8]]:
            return [prepare(read_slice(file), side)]

        deque(work_ahead(prepared, files, threads=threads, ahead=2 * BATCH), maxlen=0)

    def classify(model: ModelFile) -> Callable[[], object]:
        classifier = Classifier(model, threads=threads)
        return lambda: deque(classifier.stream(files, batch_size=BATCH), maxlen=0)

    asks = {_READING_ALONE: read, **{name: classify(model) for name, model in models.items()}}
    return take_turns(asks, rounds=_PASSES, warm_up=1, progress=progress, label="timing files")


def _time_processes(
    models: Mapping[str, ModelFile], path: Path, picture: Path, threads: int, progress: Progress
) -> dict[str, list[ProcessCost]]:
    """Start fresh processes, one after the other, in turn."""
    costs: dict[str, list[ProcessCost]] = {name: [] for name in models}
    for _ in progress(range(_PROCESSES), total=_PROCESSES, label="timing processes"):
        for name, model in models.items():
            batch = model.runtime.batch or BATCH
            costs[name].append(
                start_process(name, path, threads=threads, batch=batch, picture=picture)
            )
    return costs


def _timing(
    runtime: str,
    model: ModelFile,
    latencies: NDArray[np.float64],
    batches: NDArray[np.float64],
    files_per_second: float,
    processes: Sequence[ProcessCost],
) -> Timing:
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99)) * 1000
    batch = model.runtime.batch or BATCH
    peaks = [cost.peak_mib for cost in processes if cost.peak_mib is not None]
    return Timing(
        runtime=runtime,
        version=runtime_version(runtime),
        p50_ms=_figure(p50),
        p95_ms=_figure(p95),
        p99_ms=_figure(p99),
        latency_batch=model.runtime.batch or 1,
        images_per_second=_figure(batch / float(np.median(batches))),
        throughput_batch=batch,
        cold_start_seconds=_figure(median(cost.seconds for cost in processes)),
        files_per_second=_figure(files_per_second),
        peak_memory_mib=_figure(max(peaks)) if peaks else None,
    )


def _figure(value: float) -> float:
    """Return a figure with the four digits that a timing may have."""
    return float(f"{value:.4g}")
