"""What all tests share: no network but the loopback, and where the real data lie."""

import ipaddress
import os
import socket
import sys
from pathlib import Path

import pytest

from tests.hub_server import hub  # noqa: F401  (a fixture)

STATUS = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    session.config.stash[STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """End without the exit handlers of libraries, once everything is reported.

    In a process that has run all tests, one of decord's frees memory that is not its own. The use of a single model
    does not; tests of the commands look at their exit codes in processes of their own.
    """
    if "decord" in sys.modules and STATUS in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[STATUS])


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch):
    """Refuse every connection and every datagram that leaves the machine."""

    def guarded(method):
        def call(self, *arguments):
            if self.family in (socket.AF_INET, socket.AF_INET6):
                host = arguments[-1][0]  # the address comes last
                if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                    raise RuntimeError(f"a test tried to reach {host}: tests talk to the loopback only")
            return method(self, *arguments)

        return call

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real files that ZOO_TEST_DATA names; tests that need it are skipped without it."""
    folder = os.environ.get("ZOO_TEST_DATA")
    if not folder:
        pytest.skip("ZOO_TEST_DATA is not set: it names the folder of real files")
    return Path(folder)


@pytest.fixture(scope="session")
def gesture_model(tmp_path_factory) -> str:
    """The name of an untrained online model for gestures, for tests of what happens around a model."""
    import zoo
    from zoo.data.fingertip import CLASS_NAMES
    from zoo.weights import VideoInput, WeightsSpec

    model = zoo.create_model("tsm_mobilenetv2_online", num_classes=4)
    preprocessing = VideoInput(16, 64, 64, "squash")
    model.spec = WeightsSpec("tsm_mobilenetv2_online", "untrained", 4, preprocessing, class_names=CLASS_NAMES)
    return f"local-dir:{zoo.save_pretrained(model, tmp_path_factory.mktemp('gesture'))}"
