"""Audits folders of pictures, writes what was asked for, and shows the findings."""

import argparse
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tumorscope.audit.audit import Audit, audit
from tumorscope.audit.audit_report import render_page
from tumorscope.audit.findings import findings, percent, verdict
from tumorscope.cli import show
from tumorscope.cli.main import DISCLAIMER, STATUS_FAILED
from tumorscope.counting import counted
from tumorscope.errors import DataError
from tumorscope.files import write_text

_STYLES = {"severe": "bold red", "look": "yellow", "note": "dim"}


def run(options: argparse.Namespace) -> int:
    """Audit, write what was asked for, and print the findings unless JSON is printed."""
    sources = [replace(source, patients=not options.no_patients) for source in options.folders]
    if options.label_errors and not options.predictions:
        raise DataError("--label-errors needs --predictions PATH: a folder of crossval, or a CSV")
    result = audit(
        sources,
        predictions=options.predictions,
        off_topic=options.off_topic,
        progress=show.progress,
    )
    if options.json:
        show.write_json(options.json, _as_json(result))
    if options.html:
        write_text(options.html, render_page(result))
    if options.groups:
        _write_table(options.groups, ("file", "class", "twin_cluster", "group"), result.groups())
    if options.label_errors and result.label_errors:
        columns = ("file", "class", "likely", "score")
        _write_table(options.label_errors, columns, result.label_errors.rows(result.names))
    if options.json != "-":
        _print(result, show.console())
        files = (options.json, options.html, options.groups, options.label_errors)
        written = [str(path) for path in files if path]
        if written:
            show.console().print(f"Written: {', '.join(written)}")
        show.console().print(DISCLAIMER, style="dim")
    return STATUS_FAILED if result.unreadable else 0


def _as_json(result: Audit) -> dict[str, object]:
    found = [
        {"severity": item.severity, "what": item.what, "files": item.files, "detail": item.detail}
        for item in findings(result)
    ]
    return {
        "verdict": verdict(result),
        "findings": found,
        **result.as_dict(),
        "research_use_only": DISCLAIMER,
    }


def _write_table(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str | float]]
) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _print(result: Audit, console: Console) -> None:
    where = ", ".join(map(str, result.folders))
    console.print(
        Text(
            f"{where}: {counted(len(result.files), 'picture')} of "
            f"{counted(result.unique_slices, 'different slice')}"
        )
    )
    for note in result.notes:
        console.print(Text(note, style="dim"))
    for table in (_findings_table(result), _balance_table(result), _shortcut_table(result)):
        if table.row_count:
            console.print()
            console.print(table, soft_wrap=False)
    for line in show.left_out(result.unreadable, "in --json"):
        console.print(Text(f"\n{line}"), end="")
    console.print()
    console.print(Text(verdict(result), style="bold"))


def _findings_table(result: Audit) -> Table:
    table = Table(title="Findings", title_justify="left", title_style="bold", show_edge=False)
    table.add_column("")
    table.add_column("finding", min_width=12)
    table.add_column("files", justify="right")
    table.add_column("what it is")
    for item in findings(result):
        style = _STYLES[item.severity]
        table.add_row(
            Text(item.severity, style),
            Text(item.what, style),
            f"{item.files:,}",
            Text(item.detail),
        )
    return table


def _balance_table(result: Audit) -> Table:
    cells = {(row.split, row.label): row for row in result.balance()}
    sides = [*result.splits, ""]
    columns = [name or "all" for name in sides]
    rows = []
    for label in result.labels:
        found = [cells.get((side, label)) for side in sides]
        rows.append((label, *(f"{row.files:,} ({row.slices:,})" if row else "0" for row in found)))
    return show.table("Class balance: files (slices)", ("class", *columns), rows)


def _shortcut_table(result: Audit) -> Table:
    chance = result.shortcuts[0].chance if result.shortcuts else 0
    return show.table(
        f"Class told from the file (chance {percent(chance)})",
        ("from", "balanced accuracy"),
        [(item.fact, percent(item.balanced_accuracy)) for item in result.shortcuts],
    )
