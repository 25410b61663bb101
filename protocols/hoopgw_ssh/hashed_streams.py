"""Counts and hashes both directions of a channel whose protocol names no files that we know."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from attrs import define, field

from hoopgw_ssh.channels import Request
from hoopgw_ssh.file_commands import FileCommand
from hoopgw_ssh.files import Transfer
from hoopgw_ssh.inspector import Passage


@define(eq=False)
class HashedStream:
    """Stands in one channel of rsync or git. Implements `hoopgw_ssh.inspector.Inspector`.

    Args:
        command: what was started.
        finished: told once, with what went up, and what came down.

    """

    _command: FileCommand
    _finished: Callable[[Request | None, tuple[Transfer, ...]], None] = field(repr=False)
    _up: Any = field(factory=hashlib.sha256, init=False, repr=False)
    _down: Any = field(factory=hashlib.sha256, init=False, repr=False)
    _sizes: list[int] = field(factory=lambda: [0, 0], init=False)
    _is_over: bool = field(default=False, init=False)

    def attach(self, passage: Passage) -> None:
        """Need nothing of it."""

    def to_target(self, data: bytes) -> bytes:
        """Count it."""
        self._up.update(data)
        self._sizes[0] += len(data)
        return data

    def input_ended(self) -> bytes:
        """Return nothing: it keeps nothing back."""
        return b""

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Count it, if it is no message for people."""
        if code is None:
            self._down.update(data)
            self._sizes[1] += len(data)
        return data

    def rest(self, code: int | None) -> bytes:
        """Return nothing: it keeps nothing back."""
        del code
        return b""

    def abandoned(self) -> None:
        """Do nothing: what runs on is shown to nobody."""

    def ended(self, status: Request | None) -> None:
        """Tell what was moved."""
        if self._is_over:
            return
        self._is_over = True
        up = self._transfer(self._up, self._sizes[0], is_upload=True)
        down = self._transfer(self._down, self._sizes[1], is_upload=False)
        self._finished(status, (up, down))

    def _transfer(self, digest: Any, size: int, *, is_upload: bool) -> Transfer:
        return Transfer(
            path=self._command.paths[0],
            is_upload=is_upload,
            size=size,
            digest=digest.digest(),
            offset=0,
            extent="stream",
        )
