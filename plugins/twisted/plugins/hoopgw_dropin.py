"""Announce ``twistd hoopgw`` and ``twistd hoopgw-agent``.

Only names are given here: the services themselves are imported when they are run.
"""

from twisted.application.service import ServiceMaker

hoopgw = ServiceMaker(
    "hoopgw gateway",
    "hoopgw.tap",
    "Run the hoopgw gateway: identity-aware access to PostgreSQL and Azure.",
    "hoopgw",
)

hoopgw_agent = ServiceMaker(
    "hoopgw agent",
    "hoopgw.agent_tap",
    "Run a hoopgw agent beside the targets whose credentials it holds.",
    "hoopgw-agent",
)
