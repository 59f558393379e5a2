"""What the commands have in common when they speak to a person: progress, tables, files."""

import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.counting import counted

if TYPE_CHECKING:
    from tumorscope.datasets.catalogue import Skipped
    from tumorscope.evaluation import EvaluationResult

T = TypeVar("T")

_LEFT_OUT_SHOWN: Final = 5


class _Rate(ProgressColumn):
    """Items a second."""

    def render(self, task: Any) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="cyan")


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return the console for results (standard output), or for what is said meanwhile.

    Text is printed as it is: brackets and colons of a file's name are no markup.

    Args:
        stderr: For what is said meanwhile.
        quiet: Nothing is printed.
    """
    return Console(
        file=sys.stderr if stderr else sys.stdout,
        quiet=quiet,
        soft_wrap=True,
        highlight=False,
        markup=False,
        emoji=False,
    )


def resume_command(name: str, folder: Path) -> str:
    """Return what a user types to go on with a run: `tumorscope train --resume 'my run'`."""
    return shlex.join(["tumorscope", name, "--resume", str(folder)])


def progress(items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
    """Show a bar on standard error while a loop goes over the items.

    Nothing is shown when standard error is no terminal, so that logs stay readable.
    """
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bars:
        yield from bars.track(items, total=total, description=label)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table: the first column is text, the others are numbers on the right.

    Columns without names hold facts: all of it is text, and no header stands above it.
    """
    named = any(columns)
    result = Table(
        title=title, title_justify="left", title_style="bold", show_edge=False, show_header=named
    )
    for number, column in enumerate(columns):
        result.add_column(column, justify="right" if named and number else "left")
    for row in rows:
        result.add_row(*row)
    return result


def left_out(skipped: "Sequence[Skipped]", where: str) -> Iterator[str]:
    """Return a line about each of the first files that were left out, and one about the others.

    Args:
        skipped: The files.
        where: Where all of them are listed.
    """
    for item in skipped[:_LEFT_OUT_SHOWN]:
        yield f"left out: {item.name}: {item.reason}"
    more = len(skipped) - _LEFT_OUT_SHOWN
    if more > 0:
        yield f"and {more:,} more (all {where})"


def show_evaluation(result: "EvaluationResult", report: Path) -> None:
    """Tell a person what an evaluation found, and where its report is."""
    out = console()
    for sentence in result.summary:
        out.print(sentence)
    if skipped := result.background.get("skipped"):
        out.print(f"{counted(len(skipped), 'file')} left out, listed in the report")
        for line in left_out(skipped, "in the report"):
            out.print(line)
    out.print(f"report: {report}")
    out.print(RESEARCH_USE_ONLY)


def write_json(target: str, value: object) -> None:
    """Write a value as JSON to a file, or to standard output for `-`."""
    from tumorscope.files import write_text  # noqa: PLC0415

    text = json.dumps(value, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        write_text(Path(target), text)
