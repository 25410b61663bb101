"""How the command line fails: one sentence with the fix, and an exit status that scripts can use.

Status 0 is success, 2 (from click) a wrong use of the command; the others are here. A traceback
is never shown unless ``HOOPGW_TRACEBACK`` is set.
"""

from __future__ import annotations

import json
import sys
from typing import Any, ClassVar, Final

import click
from rich.console import Console
from rich.text import Text

from hoopgw.terminal import printable

FAILED: Final = 1
"""Refused by the gateway, or it did not work."""
NOT_LOGGED_IN: Final = 3
"""There is no log-in, or it is over."""
UNREACHABLE: Final = 4
"""The gateway does not answer, or its certificate is not trusted."""

INVALID: Final = 5
"""Policies, cases, queries or a log are not valid, so nothing could be judged."""

JSON_KEY: Final = "hoopgw.json"
"""Where the context keeps whether the output is JSON."""


class CommandError(click.ClickException):
    """The command did not work; the text is for the person at the terminal."""

    exit_code: ClassVar[int] = FAILED
    word: ClassVar[str] = "failed"
    """The stable name of the fault, for ``--json``."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        # By the time it is shown, the command's context is gone.
        context = click.get_current_context(silent=True)
        self._as_json = context is not None and bool(context.meta.get(JSON_KEY))

    def show(self, file: Any = None) -> None:
        """Print the error to standard error, as a sentence or as JSON."""
        stream = sys.stderr if file is None else file
        if self._as_json:
            fault = {"error": self.word, "detail": self.message, "status": self.exit_code}
            print(json.dumps(fault), file=stream)
            return
        text = Text("hoopgw: ", style="bold red")
        text.append(printable(self.message, keep="\n"), style="default not bold")
        Console(file=stream, soft_wrap=True, highlight=False).print(text)


class RefusedError(CommandError):
    """The gateway refused, and said by a word why."""

    def __init__(self, message: str, error: str) -> None:
        super().__init__(message)
        self.error = error
        """The answer's ``error``: ``invalid_grant``, ``refused``..."""


class NotLoggedInError(CommandError):
    """The gateway must know who asks, and does not."""

    exit_code: ClassVar[int] = NOT_LOGGED_IN
    word = "not_logged_in"


class UnreachableError(CommandError):
    """The gateway could not be asked."""

    exit_code: ClassVar[int] = UNREACHABLE
    word = "unreachable"
