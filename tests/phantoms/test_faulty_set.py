"""The audit finds the faults that the demo plants, and none where none is planted."""

from pathlib import Path

from tumorscope.audit.audit import audit
from tumorscope.audit.findings import findings
from tumorscope.phantoms.drawing import write_phantoms
from tumorscope.phantoms.faulty_set import write_faulty_set


def test_the_audit_finds_what_is_planted(tmp_path: Path) -> None:
    table = write_phantoms(tmp_path / "phantoms", patients_per_class=12, slices_per_patient=1)
    write_faulty_set(table, tmp_path / "faulty")
    planted = {
        "near-duplicates across the split",
        "one slice under two labels",
        "class shows in the file",
        "near copies",
    }
    found = {item.what: item for item in findings(audit(tmp_path / "faulty"))}
    assert planted <= found.keys()
    assert found["one slice under two labels"].files == 2
    assert found["near-duplicates across the split"].files == 8
    assert found["class shows in the file"].severity == "severe"
    plain = {item.what for item in findings(audit(tmp_path / "phantoms" / "slices.csv"))}
    assert not plain & planted
