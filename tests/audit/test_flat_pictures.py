"""Pictures of one grey value are odd; they are no slices, and copies of nothing."""

import shutil
from pathlib import Path

from PIL import Image

from tumorscope.audit.audit import audit
from tumorscope.audit.findings import findings


def test_black_pictures_are_odd_and_count_as_no_slice(phantoms: Path, tmp_path: Path) -> None:
    for side in ("Training", "Testing"):
        folder = tmp_path / side / "glioma"
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("L", (64, 64)).save(folder / f"black_{number}.png")
    first, *_ = sorted((phantoms / "images").iterdir())
    shutil.copy(first, tmp_path / "Training" / "glioma" / "head.png")
    found = audit(tmp_path)
    assert len(found.files) == 7
    one = {item.what: item.detail for item in findings(found)}["one class only"]
    assert one == "All are of the class glioma: there is nothing to tell it from."
    assert repr(found) == f"<Audit {tmp_path}: files: 7, different slices: 1, unreadable: 0>"
    assert found.unique_slices == 1
    assert not found.pairs
    assert found.leaked("Testing") == 0
    reasons = {found.files[place].name: reason for place, reason in found.odd.items()}
    assert reasons["Testing/glioma/black_0.png"] == "nothing to see: one grey value all over"
