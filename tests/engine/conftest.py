"""What tests of the engine share."""

from collections.abc import Iterator

import pytest

from tests.engine.launcher import Launcher


@pytest.fixture(scope="session")
def launcher(tmp_path_factory) -> Iterator[Launcher]:
    """Runs tools without the seconds that imports take."""
    launching = Launcher(tmp_path_factory.mktemp("launcher"))
    yield launching
    launching.end()
