"""What one session may see: learnt from the policy and the target's catalogue at its start."""

from __future__ import annotations

from hoopgw.errors import LinkError
from hoopgw.events import Principal
from hoopgw.spi import Policy, TargetSettings
from hoopgw_postgres.answers import Masks
from hoopgw_postgres.judge import Masking
from hoopgw_postgres.operations import Place
from hoopgw_postgres.prelude import Prelude


class SessionMasks(Masks, Masking):
    """How a session's answers are masked, and what may run because of that."""


async def learn(
    prelude: Prelude,
    policy: Policy,
    principal: Principal,
    target: TargetSettings,
    account: str,
    key: bytes,
) -> tuple[Place, SessionMasks | None]:
    """Ask the target where the session is, and say what is masked there for the principal."""
    answer = await prelude.ask(
        b"SELECT pg_catalog.current_database(), n FROM pg_catalog.unnest("
        b"pg_catalog.current_schemas(false)) WITH ORDINALITY AS s(n, i) ORDER BY i"
    )
    rows = answer[0]
    schemas = tuple((row[1] or b"").decode() for row in rows)
    database = (rows[0][0] or b"").decode() if rows else ""
    place = Place(target, database, account, schemas)
    if place.columns():
        raise LinkError("classified columns cannot be masked yet")
    return place, None
