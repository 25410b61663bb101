"""hoopgw for programs and AI agents: who am I, let me in, and let my child in with less.

.. code-block:: python

    import psycopg
    from hoopgw.client import Identity, Refused

    me = Identity.from_environment()           # what `hoopgw login` or `hoopgw delegate` has left
    with psycopg.connect(**me.password("orders", "app_reader").psycopg()) as connection:
        connection.execute("SELECT count(*) FROM orders")

    reader = me.delegate("report", caps=["orders:Postgres::read"], ttl=600)
    try:
        reader.password("billing")
    except Refused as refused:
        print(refused.code, refused.hint)      # not_in_caps ...

Access that it does not have, an agent asks for itself; a person decides::

    asked = me.request("orders", grant="read", seconds=900, reason="ticket 7")
    while asked.state == "requested":
        asked = me.requested(asked.id, wait=50)

With asyncio, `AsyncIdentity` has the same methods, to be awaited. No Twisted and no Cedar is
loaded by it.
"""

from __future__ import annotations

from hoopgw.client.aio import AsyncIdentity
from hoopgw.client.errors import Refused
from hoopgw.client.identity import ChildIdentity, Identity
from hoopgw.client.signers import ChildTerms, Standing
from hoopgw.client.values import Access, Requested, Target, Token
from hoopgw.events import Budget, Cap

__all__ = [
    "Access",
    "AsyncIdentity",
    "Budget",
    "Cap",
    "ChildIdentity",
    "ChildTerms",
    "Identity",
    "Refused",
    "Requested",
    "Standing",
    "Target",
    "Token",
]
