"""Files are written whole or not at all."""

import errno
import resource
from pathlib import Path

import pytest

from tumorscope.files import whole_file, write_bytes, write_text


def _write_half_and(error: BaseException, path: Path) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_file_gets_its_content_and_its_folder_is_made(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "table.csv"
    write_text(target, "größe\n")
    assert target.read_bytes() == "größe\n".encode()
    assert [item.name for item in target.parent.iterdir()] == ["table.csv"]


def test_everybody_may_read_a_written_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file.bin", b"\0\1")
    assert (tmp_path / "file.bin").stat().st_mode & 0o777 == 0o644


def test_the_temporary_file_keeps_the_ending_that_tells_the_format(tmp_path: Path) -> None:
    with whole_file(tmp_path / "picture.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_an_error_in_the_middle_leaves_the_old_file_and_no_litter(
    tmp_path: Path, error: BaseException
) -> None:
    target = tmp_path / "result.json"
    write_text(target, "old")
    with pytest.raises(type(error)):
        _write_half_and(error, target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_in_the_middle_of_a_new_file_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"):
        _write_half_and(ValueError("broken"), tmp_path / "result.json")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_os_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on the file size stops a write in its middle, as a full disk does."""
    target = tmp_path / "model.onnx"
    write_bytes(target, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_bytes(target, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_in_the_way_is_an_os_error_and_leaves_no_litter(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_text(tmp_path / "taken", "text")
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]


def test_a_file_where_a_folder_should_be_is_an_os_error(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "text")
    with pytest.raises(OSError, match="file"):
        write_text(tmp_path / "file" / "inner.txt", "text")
