"""The hash survives what happens to a picture on the way from publisher to user."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tumorscope.images import UnreadableImageError, read_slice
from tumorscope.near_duplicates.perceptual_hash import (
    TOLERANCE,
    distance,
    hash_file,
    perceptual_hash,
)


def head(seed: int, side: int = 224) -> NDArray[np.uint8]:
    """Draw a bright ellipse with darker and brighter spots on black."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    picture = np.where((rows / 0.9) ** 2 + (columns / 0.75) ** 2 < 1, 120.0, 4.0)
    for _ in range(12):
        y, x, radius = rng.uniform(-0.7, 0.7), rng.uniform(-0.6, 0.6), rng.uniform(0.05, 0.3)
        spot = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / radius**2)
        picture += rng.uniform(-90, 90) * spot
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def reencoded(grey: NDArray[np.uint8], size: tuple[int, int], quality: int) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    file.seek(0)
    return file


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    width=st.integers(110, 700),
    height=st.integers(110, 700),
    quality=st.integers(60, 95),
)
def test_resizing_and_jpeg_leave_the_hash_alone(
    seed: int, width: int, height: int, quality: int
) -> None:
    grey = head(seed)
    file = reencoded(grey, (width, height), quality)
    picture = np.asarray(Image.open(file).convert("L"))
    assert distance(perceptual_hash(grey), perceptual_hash(picture)) <= TOLERANCE


def test_different_pictures_differ() -> None:
    hashes = [perceptual_hash(head(seed)) for seed in range(40)]
    distances = [distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert np.mean(np.array(distances) <= TOLERANCE) < 0.01
    mirrored = [perceptual_hash(head(seed)[:, ::-1].copy()) for seed in range(40)]
    assert all(distance(a, b) > TOLERANCE for a, b in zip(hashes, mirrored, strict=True))


def test_the_hash_is_the_one_of_the_manifest() -> None:
    rows, columns = np.mgrid[0:64, 0:64]
    waves = (rows * 3 + columns * columns // 20 + rows * columns // 30) % 256
    # A golden value: the package's manifest holds hashes made with exactly this function.
    assert distance(perceptual_hash(waves.astype(np.uint8)), 0x003A2CD75CE62F37) <= 2
    assert distance(0b1011, 0b0010) == 2


@pytest.mark.parametrize(("suffix", "mode"), [("jpg", "L"), ("jpg", "RGB"), ("png", "L")])
def test_files_hash_like_their_slice(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"slice.{suffix}"
    Image.fromarray(head(3, 512)).convert(mode).save(path)
    assert distance(hash_file(path), perceptual_hash(read_slice(path))) <= 4


def test_a_rotation_in_the_file_is_applied(tmp_path: Path) -> None:
    grey = head(5)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    turned, plain = tmp_path / "turned.jpg", tmp_path / "plain.jpg"
    Image.fromarray(np.rot90(grey).copy()).save(turned, exif=exif)
    Image.fromarray(grey).save(plain)
    assert distance(hash_file(turned), hash_file(plain)) <= TOLERANCE


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.fromarray(head(1)).save(whole)
    cut, text, tiny = (tmp_path / name for name in ("cut.jpg", "text.jpg", "tiny.jpg"))
    cut.write_bytes(whole.read_bytes()[:900])
    text.write_text("not a picture")
    Image.new("L", (1, 1)).save(tiny)
    huge = tmp_path / "huge.jpg"
    Image.new("L", (8000, 8000)).save(huge)
    for path in (cut, text, tiny, huge, tmp_path / "gone.jpg"):
        with pytest.raises(UnreadableImageError, match=path.name):
            hash_file(path)


def test_real_slices_keep_their_hash(real_data: Path) -> None:
    files = sorted((real_data / "kaggle" / "Testing").rglob("*.jpg"))
    rng = random.Random(0)
    for path in rng.sample(files, 60):
        grey = read_slice(path)
        for size in ((512, 512), (630, 512), (150, 198)):
            copy = read_copy(reencoded(grey, size, rng.choice((60, 75, 95))))
            assert distance(hash_file(path), perceptual_hash(copy)) <= TOLERANCE, path.name


def read_copy(file: io.BytesIO) -> NDArray[np.uint8]:
    return np.asarray(Image.open(file).convert("L"))
