"""The folder of a batch run: what is to be classified, by which model, and what is done.

    DEST/_run.json                          model, options and sources; written after all blocks
    DEST/_blocks/group=00000/block-….parquet     the files to be classified, so many a block
    DEST/group=00000/part-….parquet         their answers: a part for each block, whole or not there

Nothing else is remembered: a block is done when its part is there. Names with `_` in front are
passed over by all that read folders of Parquet (Spark, Arrow, DuckDB's patterns).
"""

import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tumorscope import __version__
from tumorscope.cluster.archive import Block
from tumorscope.cluster.storage import Location, entries, exists, read_whole, write_whole
from tumorscope.errors import DataError
from tumorscope.inference.table_rows import columns

_GROUP: Final = 1000
"""So many blocks or parts stand in one folder."""

_BLOCK_SCHEMA: Final = pa.schema(
    [("root", pa.dictionary(pa.int32(), pa.string())), ("path", pa.binary())]
)
"""Names on a disk are bytes, whatever they mean."""

_TYPES: Final = {"slice": pa.int32(), "slices": pa.int32(), "milliseconds": pa.float64()}


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """What the answers depend on, beside the files and the model.

    Attributes:
        series: Whether there is an answer for each series, not for each slice.
        axis: How volumes are cut, as `SliceChoice.parse` takes it.
        slices: Which slices of volumes, as `SliceChoice.parse` takes it.
        volume: Which volume of files that hold several.
        confident: The probability from which an answer is confident; None for the model's own.
        tta: Whether each slice is classified at three zooms.
    """

    series: bool = False
    axis: str | None = None
    slices: str | None = None
    volume: int | None = None
    confident: float | None = None
    tta: bool = False


@dataclass(frozen=True, kw_only=True)
class BatchRun:
    """A run as its folder describes it.

    Attributes:
        folder: The folder.
        tumorscope: This package's version.
        model: Name and version of the model.
        model_sha256: Hash of the model's file.
        classes: The model's classes.
        options: What else the answers depend on.
        sources: What was listed, as it was given.
        sizes: How many files each block has.
        ignored: How many files of each kind were ignored.
    """

    folder: Location
    tumorscope: str
    model: str
    model_sha256: str
    classes: tuple[str, ...]
    options: BatchOptions
    sources: tuple[str, ...]
    sizes: tuple[int, ...]
    ignored: Mapping[str, int]

    @property
    def files(self) -> int:
        """How many files there are in all."""
        return sum(self.sizes)

    def block(self, number: int) -> Block:
        """Return the files of a block."""
        return read_block(self.folder, number)

    def write_part(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a block's answers, whole or not at all.

        Args:
            number: The block.
            rows: The cells by column.

        Raises:
            OSError: They cannot be written.
        """
        table = pa.Table.from_pylist([_printable(row) for row in rows], schema=self.schema())
        write_whole(_part(self.folder, number), _as_parquet(table))

    def schema(self) -> pa.Schema:
        """Return the columns of the answers: those of `predict --csv`, and the file's hash."""
        names = columns(self.classes, series=self.options.series)
        fields = [
            (name, pa.float64() if "probability" in name else _TYPES.get(name, pa.string()))
            for name in names
        ]
        return pa.schema(fields if self.options.series else [*fields, ("sha256", pa.string())])

    def done(self) -> set[int]:
        """Return the numbers of the blocks whose answers are written."""
        return {
            int(name.removeprefix("part-").removesuffix(".parquet"))
            for name in _names_in_groups(self.folder)
            if name.startswith("part-") and name.endswith(".parquet")
        }

    def count(self) -> dict[str, "Counter[str | None]"]:
        """Count the labels, verdicts and errors of all answers, a part at a time."""
        counts: dict[str, Counter[str | None]] = {
            name: Counter() for name in ("label", "verdict", "error")
        }
        for number in self.done():
            part = _read_parquet(_part(self.folder, number), list(counts))
            for name, found in counts.items():
                for item in part[name].value_counts().to_pylist():
                    found[item["values"]] += item["counts"]
        return counts


def begin_run(
    folder: Location,
    blocks: Iterable[Block],
    *,
    ignored: "Counter[str]",
    model: str,
    model_sha256: str,
    classes: Sequence[str],
    options: BatchOptions,
    sources: Sequence[str],
    listed: Callable[[int], object],
) -> BatchRun:
    """Write down what is to be done: first all blocks, then what run it is.

    A run that was stopped before that is none: it begins anew.

    Args:
        folder: The folder; new, or with nothing in it but the blocks of such a run.
        blocks: What `list_blocks` yields.
        ignored: What it counts meanwhile.
        model: Name and version of the model.
        model_sha256: Hash of the model's file.
        classes: The model's classes.
        options: What else the answers depend on.
        sources: What is listed, as it was given.
        listed: Told of each block how many files it has.

    Raises:
        DataError: The folder holds something else, or there are no files.
    """
    if any(entry.base_name != "_blocks" for entry in entries(folder)):
        raise DataError(f"{folder}: not empty, and no batch run: name a new folder")
    sizes: list[int] = []
    for block in blocks:
        table = pa.table(
            {
                "root": [place.root for place in block],
                "path": [os.fsencode(place.path) for place in block],
            },
            schema=_BLOCK_SCHEMA,
        )
        write_whole(_block(folder, len(sizes)), _as_parquet(table))
        sizes.append(len(block))
        listed(len(block))
    if not sizes:
        why = ", ".join(f"{count:,} {kind}" for kind, count in ignored.items()) or "nothing there"
        raise DataError(f"no files to classify in {' '.join(sources)} ({why})")
    run = BatchRun(
        folder=folder,
        tumorscope=__version__,
        model=model,
        model_sha256=model_sha256,
        classes=tuple(classes),
        options=options,
        sources=tuple(sources),
        sizes=tuple(sizes),
        ignored=dict(ignored),
    )
    facts = asdict(run)
    del facts["folder"]
    write_whole(folder / "_run.json", json.dumps(facts).encode())
    return run


def find_run(folder: Location) -> BatchRun | None:
    """Return the run in a folder; None where none has been begun.

    Raises:
        DataError: The run is damaged, or of another version of this package.
    """
    file = folder / "_run.json"
    if not exists(file):
        return None
    try:
        facts = json.loads(read_whole(file))
        if facts["tumorscope"] != __version__:
            raise DataError(
                f"{folder}: begun with tumorscope {facts['tumorscope']}, this is {__version__}: "
                "go on with that one, or begin anew in another folder"
            )
        for name in ("classes", "sources", "sizes"):
            facts[name] = tuple(facts[name])
        return BatchRun(folder=folder, **{**facts, "options": BatchOptions(**facts["options"])})
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: damaged ({error}): begin anew in another folder") from error


def read_block(folder: Location, number: int) -> Block:
    """Return the files of a block."""
    rows = _read_parquet(_block(folder, number)).to_pylist()
    return [Location(row["root"], os.fsdecode(row["path"])) for row in rows]


def _names_in_groups(folder: Location) -> Iterator[str]:
    for group in entries(folder):
        if group.base_name.startswith("group="):
            yield from (entry.base_name for entry in entries(folder / group.base_name))


def _part(folder: Location, number: int) -> Location:
    return folder / f"group={number // _GROUP:05}" / f"part-{number:08}.parquet"


def _block(folder: Location, number: int) -> Location:
    return folder / "_blocks" / f"group={number // _GROUP:05}" / f"block-{number:08}.parquet"


def _read_parquet(file: Location, names: list[str] | None = None) -> pa.Table:
    """Return columns of a file; all of them where none are named.

    Not by `read_table`: the threads that it reads ahead with may still run when Python ends, which
    Arrow then aborts.
    """
    return pq.ParquetFile(io.BytesIO(read_whole(file))).read(names, use_threads=False)


def _as_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _printable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return cells that are text in any encoding: bytes of names that are none stand as escapes."""
    return {
        name: cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell
        for name, cell in row.items()
    }
