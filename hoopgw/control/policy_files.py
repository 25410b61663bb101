"""The policy's files, as control knows them: read in a thread, compiled when they changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from attrs import define, field

from hoopgw.control.reading import ReadingRoom
from hoopgw.errors import PolicyError
from hoopgw.policy.schema import Schema
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.text import read_directory, version_of

T = TypeVar("T")


@define(eq=False)
class PolicyFiles:
    """Gives the policy as the files are now: what workers use, or will a moment later."""

    _directory: Path
    _schemas: Mapping[str, str]
    """Protocol to its Cedar schema."""
    _in_thread: ReadingRoom
    _known: PolicySet | None = field(default=None, init=False)
    """The set that was read last: making one takes up to a second of processor time."""

    async def current(self) -> PolicySet:
        """Return the policy.

        Raises:
            PolicyError: it is not valid.
            UnavailableError: too much is being read.

        """
        return await self._in_thread(self.read)

    async def ask(self, question: Callable[[PolicySet], T]) -> T:
        """Ask the policy something that takes long, in the thread. Raises as `current`."""
        return await self._in_thread(lambda: question(self.read()))

    async def ask_last(self, question: Callable[[PolicySet], T]) -> T:
        """Ask as `ask`, but while the files are not valid, as they last were: as workers do."""
        return await self._in_thread(lambda: question(self._last()))

    def _last(self) -> PolicySet:
        try:
            return self.read()
        except PolicyError:
            if self._known is None:
                raise
            return self._known

    def read(self) -> PolicySet:
        """Read the files; in a thread. Raises `PolicyError`."""
        files, policies = read_directory(self._directory), self._known
        if policies is None or policies.version != version_of(files):
            policies = PolicySet.from_files(files, Schema.load(self._schemas))
            self._known = policies
        return policies
