"""The class told from the file: what is measured, and which classes are left out."""

import shutil
from pathlib import Path

from tumorscope.audit.audit import audit


def test_classes_of_too_few_patients_are_left_out_and_named(phantoms: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(phantoms, folder)
    assert not any("class told" in note for note in audit(folder).notes)
    header, *rows = (folder / "slices.csv").read_text().splitlines(keepends=True)
    first = next(row.split(",")[2] for row in rows if ",glioma," in row)
    fewer = [row for row in rows if f",{first}," not in row]
    (folder / "slices.csv").write_text("".join([header, *fewer]))
    found = audit(folder)
    assert found.shortcuts[0].chance == 1 / 3
    assert (
        "glioma: fewer than 5 patients, or slices where none are known: not in 'class told from "
        "the file'"
    ) in found.notes
