"""Files in ZIP archives are read as if they lay in a folder; traps are refused in one line."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dicom_files import write_series
from tumorscope.errors import DataError
from tumorscope.images.opening import open_slices
from tumorscope.images.reading import FileInMemory, UnreadableImageError
from tumorscope.images.zip_archives import reopened, unpacked

PICTURE = io.BytesIO()
Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(PICTURE, "PNG")


def archive(path: Path, files: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as written:
        for name, content in files.items():
            written.writestr(name, content)
    return path


def refusal(path: Path | FileInMemory) -> str:
    (item,) = unpacked([path])
    assert item is path
    with pytest.raises(UnreadableImageError) as caught:
        list(open_slices(item))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message.partition(": ")[2]


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_series_in_an_archive(tmp_path: Path, kind: int) -> None:
    files = {
        f"exam/IM{number}": path.read_bytes()
        for number, path in enumerate(write_series(tmp_path / "in", count=12))
    }
    path = archive(tmp_path / "a.zip", {**files, "__MACOSX/exam/._IM0": b"", "DICOMDIR": b""}, kind)
    for given_ in (path, FileInMemory("a.zip", path.read_bytes())):
        members = list(unpacked([given_, "other.png", 5]))
        assert members[-2:] == ["other.png", 5]
        assert [item.name for item in members[:-2]] == [
            f"{given_.name if isinstance(given_, FileInMemory) else given_}/exam/IM{number}"
            for number in range(12)
        ]
        assert [item.content for item in members[:-2]] == list(files.values())
        assert all(list(open_slices(item)) for item in members[:-2])


def test_names_are_only_repeated(tmp_path: Path) -> None:
    names = ["../../a.png", "/etc/passwd", "b\\c.png"]
    path = archive(tmp_path / "a.zip", dict.fromkeys(names, PICTURE.getvalue()))
    members = list(unpacked([path]))
    assert sorted(item.name for item in members) == sorted(f"{path}/{name}" for name in names)
    assert sorted(tmp_path.iterdir()) == [path]
    assert all(list(open_slices(item)) for item in members)


def test_traps_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "bomb.zip", {"a.nii": bytes(60_000_000)})
    assert refusal(bomb) == "a ZIP archive that unpacks to too much: unpack it yourself"
    many = archive(tmp_path / "many.zip", dict.fromkeys(map(str, range(20_001)), b""), 0)
    assert "unpacks to too much" in refusal(many)
    small = archive(tmp_path / "b.zip", {"a.png": PICTURE.getvalue()})
    assert list(unpacked([small], most=100)) == [small]


def test_what_holds_nothing_is_named(tmp_path: Path) -> None:
    empty = archive(tmp_path / "a.zip", {"notes.txt": b"x", ".DS_Store": b"x"})
    assert refusal(empty) == "a ZIP archive without an image file"
    (tmp_path / "b.zip").write_bytes(b"PK\3\4 text")
    assert refusal(tmp_path / "b.zip") == "a damaged ZIP archive"
    assert refusal(FileInMemory("c.zip", b"")) == "a damaged ZIP archive"


def test_an_encrypted_archive_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.png": PICTURE.getvalue()})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert refusal(path) == "an encrypted ZIP archive: unpack it yourself"


def test_a_member_whose_own_header_is_damaged_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.png": PICTURE.getvalue()})
    content = bytearray(path.read_bytes())
    content[6:8], content[30] = b"\0\x08", 0xFF  # (A name in UTF-8 that is none.)
    path.write_bytes(content)
    (member,) = unpacked([path])
    with pytest.raises(UnreadableImageError, match="damaged in its ZIP archive"):
        list(open_slices(member))


def test_an_archive_in_an_archive_is_named(tmp_path: Path) -> None:
    inner = archive(tmp_path / "in.zip", {"a.png": PICTURE.getvalue()}).read_bytes()
    (member,) = unpacked([archive(tmp_path / "out.zip", {"in.zip": inner})])
    with pytest.raises(UnreadableImageError, match="inside another"):
        list(open_slices(member))


def test_files_are_found_again_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()  # (No archive, whatever its name.)
    (tmp_path / "folder.zip" / "c.png").touch()
    names = ["a.png", "in.zip/b.png", "../d.png"]
    inside = archive(tmp_path / "folder.zip" / "a.ZIP", {name: name.encode() for name in names})
    members = list(unpacked([inside]))
    plain = str(tmp_path / "folder.zip" / "c.png")
    found = list(reopened([plain, *(item.name for item in members), plain]))
    assert found == [plain, *members, plain]
    with pytest.raises(DataError, match="changed while it was read"):
        list(reopened([f"{inside}/gone.png"]))


@given(data=st.data())
def test_damage_gives_members_or_the_archive(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as written:
        for name in ("a.png", "b/c.png"):
            written.writestr(name, PICTURE.getvalue())
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    items = list(unpacked([FileInMemory("a.zip", bytes(content))]))
    assert items
    for item in items:
        try:
            assert list(open_slices(item))
        except UnreadableImageError as error:
            assert str(error).startswith("a.zip")  # noqa: PT017  (either outcome is right)


def test_a_member_whose_checksum_is_wrong_is_no_image(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.png": PICTURE.getvalue(), "b.png": PICTURE.getvalue()})
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    damaged, whole = unpacked([path])
    with pytest.raises(UnreadableImageError, match=r"a\.png: damaged in its ZIP archive"):
        list(open_slices(damaged))
    assert len(list(open_slices(whole))) == 1
