from pathlib import Path

import pytest


@pytest.fixture
def shared_data() -> Path:
    """Folder of real data sets beside the checkout."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data sets beside the checkout")
    return folder
