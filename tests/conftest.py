"""What holds for every test: hypothesis, a folder for litter, and no process left behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.support import postgres
from tests.support.processes import TOP, children_of
from tests.support.twins import ADVICE, not_built

# Both cores are shared by all tests, so how long one example takes says nothing.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=100,
    database=DirectoryBasedExampleDatabase(TOP / ".hypothesis" / "examples"),
)
settings.register_profile("thorough", parent=settings.get_profile("suite"), max_examples=5000)
# A change lands or not by what it is; new examples are looked for where people are working.
settings.register_profile("ci", parent=settings.get_profile("suite"), derandomize=True)
settings.load_profile(
    os.environ.get("HOOPGW_HYPOTHESIS", "ci" if os.environ.get("CI") else "suite")
)


# Whoever starts the tests in the background of a shell has them ignore Ctrl-C, and what they start
# would inherit that: ssh then cannot be interrupted. A handler of our own is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _folder_for_litter() -> Iterator[None]:
    """Run in a folder of our own: trial's ``mktemp`` and core files go to where one stands."""
    before = Path.cwd()
    folder = tempfile.mkdtemp(prefix="hg-")
    os.chdir(folder)
    yield
    os.chdir(before)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def _no_process_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail when a module's tests leave a process running, by its id; shared servers may stay."""
    before = set(children_of(os.getpid()))
    yield
    left = set(children_of(os.getpid())) - before - postgres.shared.pids
    if left:
        pytest.fail(f"{request.node.name} left processes: {[_named(pid) for pid in left]}")


def _named(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return str(pid)
    return f"{pid} {b' '.join(words)[:200].decode(errors='replace')}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say last, and loudly, what was not tested for want of a compiler."""
    if missing := not_built():
        terminalreporter.write_sep("=", "compiled twins were NOT tested", red=True, bold=True)
        terminalreporter.write_line(f"not built: {', '.join(missing)}")
        terminalreporter.write_line(ADVICE)


def pytest_sessionfinish() -> None:
    """Stop what was shared."""
    postgres.shared.stop()
