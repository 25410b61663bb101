"""A gateway in memory before a REST service, for tests of what is kept between requests."""

from __future__ import annotations

from typing import Any, Final

from tests.adversarial.azure_gateway import Gateway

RULES: Final[list[dict[str, Any]]] = [
    {"name": "readOrder", "method": "GET", "path": "/orders/{order}"},
    {"name": "readCard", "method": "GET", "path": "/cards/{card}", "secrets": ["number"]},
    {"name": "addOrder", "method": "POST", "path": "/orders"},
]
ORDER: Final = "/orders/1"


def made(**options: Any) -> Gateway:
    """Return a gateway before a REST service."""
    return Gateway(rules=RULES, **options)
