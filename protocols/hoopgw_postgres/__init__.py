"""PostgreSQL behind hoopgw.

``protocol`` is what is announced under the entry-point group ``hoopgw.protocols``. It is made when
it is asked for: the parser process imports this package too, and must start small and fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hoopgw.spi import ProtocolSpec

    protocol: ProtocolSpec


def __getattr__(name: str) -> ProtocolSpec:
    """Make ``protocol`` once."""
    if name != "protocol":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import resources

    from hoopgw.spi import ProtocolSpec
    from hoopgw_postgres.agent import make_target_leg
    from hoopgw_postgres.gateway import make_factory
    from hoopgw_postgres.operations import check_target, would_connect
    from hoopgw_postgres.replay import replay

    made = ProtocolSpec(
        name="postgres",
        default_port=5432,
        make_factory=make_factory,
        make_target_leg=make_target_leg,
        cedar_schema=resources.files(__name__).joinpath("schema.cedarschema").read_text("utf-8"),
        check_target=check_target,
        replay=replay,
        connecting=would_connect,
    )
    globals()["protocol"] = made
    return made
