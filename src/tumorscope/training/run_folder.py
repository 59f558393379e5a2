"""The files of a training run: where each stands, and what is in it."""

import csv
import io
import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tumorscope import __version__
from tumorscope.classes import ANY_TUMOUR
from tumorscope.datasets.catalogue import Skipped, Slice
from tumorscope.datasets.locations import DataSource, noted, sources_from
from tumorscope.datasets.splits import Partition
from tumorscope.errors import ModelError
from tumorscope.files import write_text
from tumorscope.images.listing import Ignored
from tumorscope.machine import processor
from tumorscope.training.recipe import Recipe, load_recipe


class _SkippedFacts(BaseModel):
    name: str
    reason: str


class _Facts(BaseModel):
    """What `data.json` must hold for the other commands."""

    data: list[str]
    split: str
    fold: int
    classes: list[str]
    fingerprint: str
    counts: dict[str, dict[str, int]]
    skipped: list[_SkippedFacts]
    left_out_for_doubted_labels: int
    left_out_for_patients_in_test: int
    test_slices_whose_group_was_learned: int


_COLUMNS = ("file", "class", "source", "group", "twin_cluster", "part")
"""Columns of `slices.csv`."""

_Row = tuple[str, ...]

_PACKAGES = ("torch", "lightning", "numpy", "pillow", "scikit-learn")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a run's data comes from.

    Attributes:
        sources: The data sets.
        fingerprint: Of all their slices.
        outlines: The fingerprint of the training part's outlines; empty where none are used.
        skipped: Files that were left out.
        ignored: Files of kinds that hold no slices.
        notes: How the sets were read.
    """

    sources: tuple[DataSource, ...]
    fingerprint: str
    outlines: str = ""
    skipped: tuple[Skipped, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunFolder:
    """A training run's folder.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe: `train --recipe` takes it again."""
        return self.path / "recipe.toml"

    @property
    def data_file(self) -> Path:
        """Fingerprint, split, counts and paths of the data."""
        return self.path / "data.json"

    @property
    def slices_file(self) -> Path:
        """Every slice with its class, group and part."""
        return self.path / "slices.csv"

    @property
    def environment_file(self) -> Path:
        """Versions and machine."""
        return self.path / "environment.json"

    @property
    def log_file(self) -> Path:
        """One row an epoch."""
        return self.path / "log.csv"

    @property
    def tracker_file(self) -> Path:
        """Which run of MLflow's this is; there where MLflow is told about it."""
        return self.path / "tracker.json"

    @property
    def checkpoints(self) -> Path:
        """What `--resume` goes on from."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The state after the last whole epoch."""
        return self.checkpoints / "last.ckpt"

    @property
    def weights_file(self) -> Path:
        """The best epoch's weights; there once training has ended."""
        return self.path / "weights.safetensors"

    @property
    def evaluation_file(self) -> Path:
        """The metrics on the test part."""
        return self.path / "evaluation.json"

    @property
    def report_file(self) -> Path:
        """What a person reads."""
        return self.path / "report.html"

    def recipe(self) -> Recipe:
        """Return the resolved recipe."""
        self.check()
        return load_recipe(self.recipe_file)

    def data(self) -> dict[str, Any]:
        """Return what `data.json` holds.

        Raises:
            ModelError: This is no run folder, or the file is damaged.
        """
        facts = self._read_json(self.data_file)
        try:
            _Facts.model_validate(facts, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            wrong = f"{name} is {first['input']!r}"
            raise ModelError(
                f"{self.data_file}: damaged, "
                + (f"it has no '{name}'" if first["type"] == "missing" else wrong)
            ) from None
        return facts

    def sources(self) -> list[DataSource]:
        """Return the data sets that the run was trained on."""
        return sources_from(self.data())

    def environment(self) -> dict[str, str | int | float]:
        """Return what `environment.json` holds."""
        return self._read_json(self.environment_file)

    def metrics(self) -> dict[str, Any]:
        """Return what `evaluation.json` holds; empty when the run was not evaluated yet."""
        return self._read_json(self.evaluation_file) if self.evaluation_file.is_file() else {}

    def history(self) -> list[dict[str, float]]:
        """Return the log, a row an epoch; empty when no epoch has ended yet."""
        if not self.log_file.is_file():
            return []
        with self.log_file.open(newline="") as file:
            try:
                return [
                    {name: float(value) for name, value in row.items()}
                    for row in csv.DictReader(file)
                ]
            except (TypeError, ValueError) as error:
                raise ModelError(f"{self.log_file}: damaged ({error})") from None

    def learned(self) -> set[tuple[str, str]]:
        """Return source and name of every slice that the network learned from or chose by."""
        return self.part("train") | self.part("validation")

    def part(self, name: str) -> set[tuple[str, str]]:
        """Return source and name of the slices of a part: `train`, `validation` or `test`."""
        rows = self._noted_rows()
        return {(source, file) for file, _, source, _, _, part in rows if part == name}

    def _noted_rows(self) -> list[_Row]:
        """Return the rows of `slices.csv`.

        Raises:
            ModelError: It cannot be read, or is damaged.
        """
        try:
            text = self.slices_file.read_bytes().decode("utf-8", "surrogateescape")
            rows = csv.DictReader(io.StringIO(text, newline=""))
            return [tuple(row[name] for name in _COLUMNS) for row in rows]
        except (OSError, KeyError, csv.Error) as error:
            raise ModelError(f"{self.slices_file}: cannot be read ({error})") from None

    def check(self) -> None:
        """Make sure that this is a run folder.

        Raises:
            ModelError: It is not.
        """
        if not self.recipe_file.is_file() or not self.data_file.is_file():
            raise ModelError(f"{self.path}: no run folder (it has no recipe.toml and data.json)")

    def check_free(self) -> None:
        """Make sure that a run may begin here.

        Raises:
            ModelError: The folder holds something already.
        """
        if self.path.exists() and any(self.path.iterdir()):
            raise ModelError(
                f"{self.path}: not empty; go on with it by --resume, or name another folder"
            )

    def check_data(self, fingerprint: str, partition: Partition) -> None:
        """Make sure that the run was started on the data that is at hand, split as it is now.

        Args:
            fingerprint: Of that data.
            partition: Its parts; what could not be read when the run began may be in them.

        Raises:
            ModelError: It was not.
        """
        if self.data()["fingerprint"] != fingerprint:
            raise ModelError(f"{self.path}: this run was started on other data; it cannot go on")
        noted = self._noted_rows()
        known = set(noted)
        if [row for row in _rows(_parts(partition)) if row in known] != noted:
            raise ModelError(
                f"{self.path}: this run was started on other parts of the data (folds, splits or "
                "near-duplicates have changed); it cannot go on"
            )

    def check_outlines(self, fingerprint: str) -> None:
        """Make sure that the run was started with the outlines that are at hand.

        Args:
            fingerprint: Of those of the training part.

        Raises:
            ModelError: It was not.
        """
        if self.data().get("outlines", fingerprint) != fingerprint:
            raise ModelError(
                f"{self.path}: this run was started with other outlines; it cannot go on"
            )

    def begin(self, recipe: Recipe, partition: Partition, origin: Origin) -> None:
        """Write what there is to know before training, all of it or nothing.

        Args:
            recipe: How it is trained.
            partition: What is learned from, chosen by and tested on.
            origin: Where that comes from.

        Raises:
            ModelError: The folder holds something already.
        """
        self.check_free()  # (Another run may have begun here while the pictures were read.)
        new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self.describe_environment()
            self.describe_data(partition, origin)
            write_text(self.recipe_file, recipe.to_toml())
        except BaseException:  # a full disk, Ctrl-C: the folder must be free for the next try
            for file in (self.environment_file, self.slices_file, self.data_file):
                file.unlink(missing_ok=True)
            if new:
                self.path.rmdir()
            raise

    def describe_data(self, partition: Partition, origin: Origin) -> None:
        """Write `data.json` and `slices.csv`."""
        parts = _parts(partition)
        facts = {
            **noted(origin.sources),
            "split": partition.protocol.name,
            "fold": partition.fold,
            "classes": list(partition.classes),
            "fingerprint": origin.fingerprint,
            "outlines": origin.outlines,
            "counts": {
                name: count_classes(slices, partition.classes) for name, slices in parts.items()
            },
            "groups": {
                name: len({item.group for item in slices}) for name, slices in parts.items()
            },
            "test_slices_whose_group_was_learned": partition.leaked,
            "left_out_for_patients_in_test": partition.left_out,
            "left_out_for_doubted_labels": partition.doubted,
            "left_out_of_every_part": partition.unused,
            "notes": list(origin.notes),
            "skipped": [{"name": item.name, "reason": item.reason} for item in origin.skipped],
            "ignored": [{"name": item.path, "kind": item.kind} for item in origin.ignored],
        }
        self.list_slices(parts)
        write_text(self.data_file, json.dumps(facts, indent=2) + "\n")

    def list_slices(self, parts: Mapping[str, Sequence[Slice]]) -> None:
        """Write `slices.csv`.

        Args:
            parts: The slices of each part, by its name.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(_rows(parts))
        write_text(self.slices_file, text.getvalue())

    def describe_environment(self) -> None:
        """Write `environment.json`: versions and machine."""
        import torch  # noqa: PLC0415  (keeps commands fast that only read a run)

        facts: dict[str, str | int] = {
            "tumorscope": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
            "system": platform.system(),
            "processor": processor(),
            "cores": os.cpu_count() or 0,
        }
        if torch.cuda.is_available():
            facts["gpu"] = torch.cuda.get_device_name()
        write_text(self.environment_file, json.dumps(facts, indent=2) + "\n")

    def _read_json(self, path: Path) -> dict[str, Any]:
        self.check()
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read ({error})") from None
        if not isinstance(values, dict):
            raise ModelError(f"{path}: damaged, it is no JSON object")
        return values


def _parts(partition: Partition) -> dict[str, Sequence[Slice]]:
    return {
        "train": partition.train,
        "validation": partition.validation,
        "test": partition.test,
    }


def _rows(parts: Mapping[str, Sequence[Slice]]) -> list[_Row]:
    return [
        (item.name, item.label, item.source, item.group, item.cluster, name)
        for name, slices in parts.items()
        for item in slices
    ]


def count_classes(slices: Sequence[Slice], classes: Sequence[str]) -> Mapping[str, int]:
    """Return how many slices there are of each class, and of any tumour where there are some."""
    counts = Counter(item.label for item in slices)
    named = {name: counts[name] for name in classes}
    return named | ({ANY_TUMOUR: counts[ANY_TUMOUR]} if counts[ANY_TUMOUR] else {})
