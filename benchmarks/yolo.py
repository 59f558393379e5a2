"""A fold's folders come in, answers of Ultralytics' classifier, trained on them, go out.

    tumorscope crossval --data FIGSHARE --split figshare-patient --folds-out FOLDS
    python benchmarks/yolo.py FOLDS/fold-1 --out yolo11n-cls.csv
    python benchmarks/leaderboard.py table yolo11n-cls.csv --network yolo11n-cls.onnx ...

The first and the last command are this project's. This one runs where `ultralytics` is installed,
in an environment of its own, and needs nothing of this project. All settings but the number of
epochs, the size and the seed are Ultralytics' own; weights start at random, for those learned on
ImageNet come in no package. The network goes beside the answers as an ONNX file, to be timed.
"""

import argparse
import csv
import tempfile
from pathlib import Path

from ultralytics import YOLO


def main() -> None:
    """Train, answer the test part, write the table and the network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fold", type=Path, help="a folder that `crossval --folds-out` wrote")
    parser.add_argument("--network", default="yolo11n-cls.yaml", help="a name of Ultralytics'")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--size", type=int, default=128, help="side of the input in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the CSV file")
    options = parser.parse_args()
    model = YOLO(options.network, task="classify")
    with tempfile.TemporaryDirectory() as folder:
        model.train(
            data=str(options.fold.resolve()),
            epochs=options.epochs,
            imgsz=options.size,
            seed=options.seed,
            device="cpu",
            project=folder,
        )
        best = YOLO(model.trainer.best)
        write_answers(best, options.fold, options.size, options.out)
        network = best.export(format="onnx", imgsz=options.size, opset=13, simplify=False)
        options.out.with_suffix(".onnx").write_bytes(Path(network).read_bytes())


def write_answers(model: YOLO, fold: Path, size: int, table: Path) -> None:
    """Write a row of probabilities for each picture of the fold's test part."""
    with (fold / "test.csv").open(newline="") as opened:
        files = [row["file"] for row in csv.DictReader(opened)]
    with table.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["file", *model.names.values()])
        for file in files:
            (answer,) = model.predict(file, imgsz=size, device="cpu", verbose=False)
            writer.writerow([file, *answer.probs.data.tolist()])


if __name__ == "__main__":
    main()
