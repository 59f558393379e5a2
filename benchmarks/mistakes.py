"""Lists every image that evaluated runs predicted wrong.

    python benchmarks/mistakes.py RUN

writes `results/mistakes_SPLIT.csv`: `file, label, predicted, probability, group, copies,
copies_wrong`, where `copies` are the test images that show the same slice and `copies_wrong` those
of them that are predicted wrong; the most probable mistakes come first.
"""

import argparse
import csv
import io
from collections import Counter
from pathlib import Path

from measure import runs_in
from record import RESULTS
from tumorscope.evaluation import Predictions
from tumorscope.files import write_text


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="what `crossval`, or `train`, left")
    options = parser.parse_args()
    split = runs_in(options.run)[0].data()["split"]
    path = RESULTS / f"mistakes_{split}.csv"
    write_text(path, list_mistakes(Predictions.load(options.run / "predictions.csv")))
    print(path)


def list_mistakes(table: Predictions) -> str:
    """Return the mistakes as the text of a CSV file."""
    # A slice without a known cluster has no copies.
    slices = [cluster or name for cluster, name in zip(table.clusters, table.names, strict=True)]
    wrong = [row for row in range(len(table)) if table.predicted[row] != table.target[row]]
    copies, copies_wrong = Counter(slices), Counter(slices[row] for row in wrong)
    sure = table.probabilities.max(axis=1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["file", "label", "predicted", "probability", "group", "copies", "copies_wrong"]
    )
    for row in sorted(wrong, key=lambda row: (-sure[row], table.names[row])):
        writer.writerow(
            [
                table.names[row],
                table.labels[row],
                table.classes[table.predicted[row]],
                f"{sure[row]:.3f}",
                table.groups[row],
                copies[slices[row]],
                copies_wrong[slices[row]],
            ]
        )
    return text.getvalue()


if __name__ == "__main__":
    main()
