"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, or a skip with the reason."""
    named = os.environ.get("TUMORSCOPE_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "kaggle" / "groups.csv").is_file():
        pytest.skip(f"the real data sets are not at hand ({folder})")
    return folder
