"""How the scripted demonstration is shown: what somebody types, what comes back, what holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from attrs import define, field
from rich.console import Console
from rich.text import Text

from hoopgw.demo.processes import DemoError
from hoopgw.terminal import printable

_LINES_SHOWN: Final = 14
_POLL: Final = 0.1


@define(eq=False)
class Stage:
    """Prints the story and counts what was checked."""

    console: Console
    checked: int = field(default=0, init=False)

    def act(self, title: str) -> None:
        """Begin a part."""
        self.console.print()
        self.console.print(Text(title, style="bold cyan"))

    def typed(self, who: str, line: str) -> None:
        """Show what somebody types."""
        text = Text(f"  {who}$ ", style="bold")
        text.append(printable(line), style="not bold yellow")
        self.console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Say something about a part."""
        self.console.print(Text(f"  ({text})", style="dim"))

    def shown(self, output: str) -> None:
        """Show what came back."""
        lines = output.strip("\n").splitlines()
        for line in lines[:_LINES_SHOWN]:
            self.console.print(Text("    " + printable(line, keep="\t")), soft_wrap=True)
        if len(lines) > _LINES_SHOWN:
            self.console.print(Text(f"    … {len(lines) - _LINES_SHOWN} more lines", style="dim"))

    def check(self, holds: bool, what: str, *, seen: str = "") -> None:
        """Show that something holds.

        Raises:
            DemoError: it does not; ``seen`` is told with it.

        """
        if not holds:
            detail = f"\n{seen.strip()}" if seen else ""
            raise DemoError(f"this does not hold: {what}{detail}")
        self.checked += 1
        self.console.print(
            Text("  ✓ ", style="green").append(what, style="default"), soft_wrap=True
        )

    def wait(self, what: str, ready: Callable[[], bool], patience: float) -> None:
        """Wait until something is so.

        Raises:
            DemoError: it was not after ``patience`` seconds.

        """
        end = time.monotonic() + patience
        while not ready():
            if time.monotonic() > end:
                raise DemoError(f"this did not happen in {patience:.0f} s: {what}")
            time.sleep(_POLL)
