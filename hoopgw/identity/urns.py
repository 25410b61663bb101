"""Names of RFC 6749 and RFC 8693 that the token endpoint and its callers share."""

from __future__ import annotations

from typing import Final

GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
REFRESH_GRANT: Final = "refresh_token"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a URN
REFRESH_TOKEN: Final = "urn:ietf:params:oauth:token-type:refresh_token"  # noqa: S105  # a URN
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105  # a URN
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
SESSION_PASSWORD: Final = "urn:hoopgw:token-type:session-password"  # noqa: S105  # a URN
