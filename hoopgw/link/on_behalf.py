"""How an agent gets what a person logged in with: from control, for a ticket. Blocking.

It goes over the same verified HTTPS as a renewal, past every worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlencode

import msgspec
from attrs import define, field

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.link.assertion import ASSERTION_TYPE, ON_BEHALF_PATH, make_assertion
from hoopgw.link.enrol import Ask, ask_form, trusting
from hoopgw.link.enrolment_api import read
from hoopgw.link.identity import Identity


class _Answer(msgspec.Struct):
    assertion: str


@define(eq=False)
class AskOnBehalf:
    """Asks; called in a thread."""

    found: Identity = field(repr=False)
    """Replaced when the agent's certificate was renewed."""
    ask: Ask = ask_form
    now: Callable[[], float] = time.time

    def __call__(self, ticket: str) -> str:
        """Return what the person behind a ticket logged in with.

        Raises:
            UnavailableError: it cannot be had; the text is for the caller.

        """
        found = self.found
        url = found.enrolment.url + ON_BEHALF_PATH
        form = {
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": make_assertion(found.enrolment.name, found.key, url, self.now()),
            "ticket": ticket,
        }
        answer = self.ask(url, urlencode(form).encode(), trusting(found.enrolment.gateway_ca))
        try:
            return read(answer, _Answer).assertion
        except AuthenticationError as error:
            raise UnavailableError("the gateway's answer cannot be read") from error
