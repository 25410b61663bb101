"""Logging in with a device code, for people who have nothing but `ssh`.

The address and the code stand in the question itself: clients show nothing else where they are
quiet (git, Ansible, ``ssh -q``). When Enter was pressed, control asks the issuer whether a person
has approved; who presses it too early is asked again. What control gives is a log-in like any
other, with an id by which it is revoked. No key was proved, which policy can see.

Whoever approves a code lets in whoever has shown it: docs/threat-model.md says what that is worth.
Listeners offer it only if they are configured to.

References: RFC 4256, RFC 8628.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from attrs import frozen

from hoopgw.errors import AuthenticationError
from hoopgw.identity.shown import DeviceLogins, DeviceWait
from hoopgw.identity.ssh_certificates import PERMISSIONS, Restrictions, is_login
from hoopgw.terminal import printable
from hoopgw_ssh.user_login import LoggedIn, Wanted

METHOD: Final = "device-code"
QUESTIONS_LIMIT: Final = 20
"""How often somebody is asked whether they have approved."""
LONGEST: Final = 600.0
"""Seconds that a person has, if the issuer's code lasts so long."""
ALL: Final = Restrictions(permissions=PERMISSIONS - {"permit-user-rc"})
"""Nothing is narrowed, as in a certificate of `hoopgw ssh-config`: policy says what may be used."""


@frozen
class DeviceDialogue:
    """Implements `hoopgw_ssh.user_login.Dialogue`."""

    _logins: DeviceLogins
    _issuer: str
    """The alias of the issuer that gives the codes."""

    async def log_in(
        self,
        wanted: Wanted,
        address: str,
        ask: Callable[[str], Awaitable[bytes]],
        last: Callable[[float], None],
    ) -> LoggedIn:
        """Show a code, and wait until it is approved."""
        if not is_login(wanted.account):
            raise AuthenticationError("the account's name is none")
        wait = await self._logins.begin(self._issuer, address)
        last(min(wait.lasts, LONGEST))
        try:
            for number in range(QUESTIONS_LIMIT):
                await ask(prompt(wait, again=number > 0))
                principal = await self._logins.poll(wait.id, address)
                if principal is not None:
                    return LoggedIn(
                        principal=principal, restrictions=ALL, wanted=wanted, method=METHOD
                    )
            raise AuthenticationError("nobody has approved the code")
        finally:
            self._logins.drop(wait.id)


def prompt(wait: DeviceWait, *, again: bool = False) -> str:
    """Return the question: one line, as clients show it behind the user's name."""
    whole = f" (or open {printable(wait.url_with_code)})" if wait.url_with_code else ""
    begin = "Not approved yet. Open" if again else "To log in, open"
    return (
        f"{begin} {printable(wait.url)} and enter {printable(wait.code)}{whole}, "
        "and press Enter when that is done: "
    )
