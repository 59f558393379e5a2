"""Measures the preparation: how still its box stands, its speed, and the graph beside it.

    git worktree add TREE COMMIT          # an earlier version
    python benchmarks/preparation.py --data DIR --earlier TREE

DIR holds JPEG files in folders by class (Kaggle's `Testing`). Each slice is copied with a fault;
a copy's box should lie where the slice's box lies. A shift is that of one end of the box, as a
share of the slice's side; `largest` takes the worst of the four. Times are of one core, of the
thread itself: what other programs on the machine do hardly counts. `same_labels.py` compares every
way from a file to an answer, `board_speed.py` times a Jetson's bundle beside an earlier one.
"""

import argparse
import hashlib
import importlib.util
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from record import write_record
from tumorscope.evaluation.corruptions import Kind, corrupt
from tumorscope.images import PREPARATION_VERSION, find_head, prepare, read_slice
from tumorscope.inference import Classifier, Prediction
from tumorscope.inference.complete_file import PixelSize, preparation
from tumorscope.inference.model_file import DEFAULT_MODEL, find_model

Grey = NDArray[np.uint8]
Copy = tuple[Grey, tuple[float, float, float, float]]
"""A copy, and how places move: down = down * first + second, across = across * third + fourth."""

Box = tuple[float, float, float, float]
_STAYS: Final = (1.0, 0.0, 1.0, 0.0)
_TIMED: Final = 100
_BARRED: Final = 90
_FILES: Final = 1000


def _corrupted(kind: Kind) -> Callable[[Grey, np.random.Generator], Copy]:
    return lambda grey, random: (corrupt(grey, kind, 5, int(random.integers(2**31))), _STAYS)


def _as_jpeg(grey: Grey, _: np.random.Generator) -> Copy:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file)), _STAYS


def _with_bar(grey: Grey, random: np.random.Generator) -> Copy:
    """Add a bar of 5 to 20 % at a side: white, grey, or shaded; half of them after a black gap."""
    side, kind = int(random.integers(4)), int(random.integers(3))
    turned = np.rot90(grey, side)
    length, width = turned.shape
    shade = (np.full(length, 255.0), np.full(length, random.uniform(60, 230)))
    column = (*shade, np.linspace(255, 0, length))[kind]
    bar = np.repeat(column[:, None], round(random.uniform(0.05, 0.2) * width), axis=1)
    gap = np.zeros((length, int(random.integers(2) * random.integers(1, 25))))
    added = np.hstack([turned, gap, bar.round()]).astype(np.uint8)
    copy = np.ascontiguousarray(np.rot90(added, -side))
    down, across = copy.shape[0] - grey.shape[0], copy.shape[1] - grey.shape[1]
    return copy, (1.0, down * (side == 3), 1.0, across * (side == 2))


def _in_window(grey: Grey, random: np.random.Generator) -> Copy:
    """Put the slice into a viewer's window: title bar with text, panels, a thin frame."""
    height, width = grey.shape
    left, right, below = (int(random.integers(0, part)) for part in (width // 3, width // 4, 30))
    top, edge = int(random.integers(22, 50)), int(random.integers(1, 4))
    size = (width + left + right + 2 * edge, height + top + below + 2 * edge)
    window = Image.new("L", size, int(random.choice([240, 200, 120, 40])))
    pen = ImageDraw.Draw(window)
    pen.rectangle((0, 0, size[0], top - 1), fill=int(random.choice([255, 60, 180])))
    font = ImageFont.load_default(11)
    pen.text((6, (top - 14) // 2), "Viewer - patient 0042 series 3", fill=0, font=font)
    frame = (left, top, left + width + 2 * edge - 1, top + height + 2 * edge - 1)
    pen.rectangle(frame, fill=int(random.choice([0, 100, 255])))
    window.paste(Image.fromarray(grey), (left + edge, top + edge))
    return np.asarray(window), (1.0, top + edge, 1.0, left + edge)


def _padded(grey: Grey, random: np.random.Generator) -> Copy:
    widths = (random.uniform(0, 0.5, 4) * np.repeat(grey.shape, 2)).astype(int)
    colour = int(random.choice([0, 40, 128, 255]))
    copy = np.pad(grey, (tuple(widths[:2]), tuple(widths[2:])), constant_values=colour)
    return copy, (1.0, float(widths[0]), 1.0, float(widths[2]))


def _squashed(grey: Grey, random: np.random.Generator) -> Copy:
    height, width = grey.shape
    new = round(width * 1.5 ** (1 - 2 * int(random.integers(2))))
    picture = Image.fromarray(grey).resize((new, height), Image.Resampling.LANCZOS)
    return np.asarray(picture), (1.0, 0.0, new / width, 0.0)


def _with_caption(grey: Grey, random: np.random.Generator) -> Copy:
    height, width = grey.shape
    strip, above = round(height * random.uniform(0.08, 0.15)), int(random.integers(2))
    white = int(random.integers(2))
    page = Image.new("L", (width, height + strip), 255 * white)
    page.paste(Image.fromarray(grey), (0, strip * above))
    place = (8, 0.2 * strip + height * (1 - above))
    font = ImageFont.load_default(max(8, strip * 0.5))
    text = "Figure 2a. Axial T1 with contrast"
    ImageDraw.Draw(page).text(place, text, fill=255 * (1 - white), font=font)
    return np.asarray(page), (1.0, strip * above, 1.0, 0.0)


COPIES: Final[dict[str, Callable[[Grey, np.random.Generator], Copy]]] = {
    "noise of strength 5": _corrupted("noise"),
    "blur of strength 5": _corrupted("blur"),
    "contrast of strength 5": _corrupted("contrast"),
    "JPEG quality 50": _as_jpeg,
    "text of strength 5": _corrupted("text"),
    "bar": _with_bar,
    "window": _in_window,
    "padding": _padded,
    "squashed by 1.5": _squashed,
    "caption": _with_caption,
}


def stability(pictures: list[Grey], find: Callable[[Grey], Box]) -> dict[str, Any]:
    """Return how far the box moves under each fault."""
    results = {}
    for number, (name, copy) in enumerate(COPIES.items()):
        shifts = []
        for row, grey in enumerate(pictures):
            changed, (down, below, across, beside) = copy(
                grey, np.random.default_rng([row, number])
            )
            top, bottom, left, right = find(grey)
            wanted = np.array(
                [top * down + below, bottom * down + below, left * across + beside,
                 right * across + beside]
            )  # fmt: skip
            side = np.repeat((grey.shape[0] * down, grey.shape[1] * across), 2)
            shifts.append(np.abs(np.array(find(changed)) - wanted) / side)
        results[name] = _summary(np.array(shifts))
        print(name, results[name], flush=True)
    return results


def _summary(shifts: NDArray[np.float64]) -> dict[str, float]:
    largest = shifts.max(axis=1)
    return {
        "mean": round(float(shifts.mean()), 5),
        "under_0.03": round(float((shifts < 0.03).mean()), 4),
        "mean_of_largest": round(float(largest.mean()), 5),
        "largest_under_0.03": round(float((largest < 0.03).mean()), 4),
    }


def speed(pictures: list[Grey], side: int, size: int) -> dict[str, float]:
    """Return the median times in milliseconds for JPEG files of a side, and their ratio."""
    decode, ready = [], []
    for grey in pictures[:: max(1, len(pictures) // _TIMED)]:
        file = io.BytesIO()
        Image.fromarray(grey).convert("RGB").resize((side, side)).save(file, "JPEG", quality=90)

        def read(content: bytes = file.getvalue()) -> Grey:
            return np.asarray(Image.open(io.BytesIO(content)).convert("L"))

        picture = read()
        decode.append(_milliseconds(read))
        ready.append(_milliseconds(lambda picture=picture: prepare(picture, size)))
    times = float(np.median(decode)), float(np.median(ready))
    return {
        "decode": round(times[0], 3),
        "prepare": round(times[1], 3),
        "ratio": round(times[1] / times[0], 2),
    }


def _milliseconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(15):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return 1000 * min(times)


def agreement(pictures: list[Grey], size: int) -> dict[str, Any]:
    """Return how far NumPy's preparation and the graph are apart, in inputs and answers."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session, graph = (
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for model in (
            find_model(DEFAULT_MODEL),
            preparation(size, PixelSize()).SerializeToString(),
        )
    )

    def ask(grey: NDArray[Any]) -> NDArray[np.float32]:
        (said,) = session.run(["probabilities"], {"grey": grey.astype(np.float32)})
        return np.asarray(said[0])

    levels, boxes, answers, labels = [], [], [], []
    for grey in pictures:
        made, box = graph.run(None, {"pixels": grey[None].astype(np.float32)})
        plain = prepare(grey, size)
        levels.append(np.abs(made[0, 0] - plain))
        boxes.append(np.abs(box[0] - find_head(grey)).max())
        first, second = ask(plain[None, None]), ask(made)
        answers.append(np.abs(first - second).max())
        labels.append(first.argmax() == second.argmax())
    return {
        "mean_levels": round(float(np.mean(levels)), 5),
        "most_levels": float(np.max(levels)),
        "most_pixels_of_box": round(float(np.max(boxes)), 5),
        "most_probability": round(float(np.max(answers)), 6),
        "same_labels": f"{int(np.sum(labels))} of {len(labels)}",
    }


def refusals(pictures: list[Grey]) -> dict[str, Any]:
    """Return how many answers turn unsupported because of a bar."""
    classifier = Classifier.load(threads=1)
    plain = pictures[:: max(1, len(pictures) // _BARRED)][:_BARRED]
    barred = [_with_bar(grey, np.random.default_rng([7, row]))[0] for row, grey in enumerate(plain)]
    before, after = (
        [answer.verdict == "unsupported" for answer in classifier.predict(group)]  # type: ignore[union-attr]
        for group in (plain, barred)
    )
    turned = sum(now and not then for then, now in zip(before, after, strict=True))
    return {"slices": len(plain), "unsupported_before": sum(before), "turned_by_the_bar": turned}


def screens(folder: Path) -> dict[str, str]:
    """Return the answer to each screenshot of a head, some with bars, frames and text."""
    files = sorted(folder.glob("*.png"))
    answers = Classifier.load(threads=1).predict(list(files))
    return {
        file.stem: answer.verdict if isinstance(answer, Prediction) else "failure"
        for file, answer in zip(files, answers, strict=True)
    }


def rates(pictures: list[Grey], files: list[Path], size: int) -> dict[str, Any]:
    """Return images a second of `predict` on files and of the network alone, by threads."""
    files = files[:: max(1, len(files) // _FILES)][:_FILES]
    ready = np.stack([prepare(grey, size) for grey in pictures[:_FILES]])
    results: dict[str, Any] = {"files": len(files), "load": round(os.getloadavg()[0], 1)}
    for threads in (1, 2):
        classifier = Classifier.load(threads=threads)
        classifier.predict(list(files[:64]))
        shares = []
        for _ in range(2):
            began = time.perf_counter()
            classifier.predict(list(files))
            read = time.perf_counter() - began
            began = time.perf_counter()
            classifier.outputs(ready)
            shares.append((read / len(files), (time.perf_counter() - began) / len(ready)))
        whole, alone = np.array(shares).min(axis=0)
        results[f"threads_{threads}"] = {
            "predict": round(1 / whole, 1),
            "network": round(1 / alone, 1),
            "ratio": round(alone / whole, 3),
        }
    return results


def main() -> None:
    """Measure and write `results/preparation.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--earlier", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--screens", type=Path, help="a folder of screenshots of heads")
    parser.add_argument("--every", type=int, default=1, help="measure every so many-th slice")
    parser.add_argument("--size", type=int, default=160, help="side of the network's input")
    options = parser.parse_args()
    every_file = sorted(options.data.glob("*/*.jpg"))
    files = every_file[:: options.every]
    pictures = [read_slice(file) for file in files]
    content = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    figures: dict[str, Any] = {
        "version": PREPARATION_VERSION,
        "milliseconds": {str(side): speed(pictures, side, options.size) for side in (224, 512)},
        "graph": agreement(pictures, options.size),
        "bars": refusals(pictures),
        "images_per_second": rates(pictures, every_file, options.size),
    }
    if options.screens:
        figures["screens"] = screens(options.screens)
    print(figures, flush=True)
    figures["stability"] = stability(pictures, find_head)
    if options.earlier:
        source = options.earlier / "src" / "tumorscope" / "images" / "preparation.py"
        spec = importlib.util.spec_from_file_location("earlier", source)
        assert spec
        assert spec.loader
        earlier = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(earlier)
        figures["earlier"] = {
            "version": earlier.PREPARATION_VERSION,
            "stability": stability(pictures, earlier.find_head),
        }
    write_record(
        "preparation",
        command="python benchmarks/preparation.py --data kaggle/Testing --screens 60_screens "
        f"--earlier TREE --every {options.every}",
        figures=figures,
        seeds=[],
        n=len(pictures),
        data_fingerprint=content,
    )


if __name__ == "__main__":
    main()
