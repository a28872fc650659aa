"""What tests of the engine share."""

from collections.abc import Iterator

import pytest

from tests.engine import launcher as launching


@pytest.fixture(scope="session")
def launcher(tmp_path_factory) -> Iterator[launching.Launcher]:
    """Starts tools without the seconds that imports take."""
    with launching.launcher(tmp_path_factory.mktemp("launcher")) as started:
        yield started
