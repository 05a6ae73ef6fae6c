from collections.abc import Iterator
from typing import Any

import chromium
import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium.started() as browser:
        yield browser
