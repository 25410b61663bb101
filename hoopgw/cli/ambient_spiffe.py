"""A JWT-SVID of the Workload API, by the `spiffe` package, which is not installed by itself."""

from __future__ import annotations

from hoopgw.cli.ambient_http import Surroundings
from hoopgw.cli.failure import CommandError

_TIMEOUT = 10.0


def jwt_svid(around: Surroundings) -> str:
    """Ask the Workload API for a JWT-SVID for the gateway.

    Raises:
        CommandError: the package is missing, or there is no SVID to be had.

    """
    socket = around.need("SPIFFE_ENDPOINT_SOCKET", "where is the Workload API?")
    try:
        from spiffe import WorkloadApiClient
    except ImportError as error:
        raise CommandError(
            "the Workload API needs the package `hoopgw[spiffe]`; or have spiffe-helper write the "
            "JWT-SVID to a file, and name that in HOOPGW_ID_TOKEN_FILE"
        ) from error
    try:
        with WorkloadApiClient(socket_path=socket) as client:
            return str(client.fetch_jwt_svid({around.audience}, timeout=_TIMEOUT).token)
    except Exception as error:  # of spiffe, grpc or the socket: each has its own
        raise CommandError(
            f"the Workload API at {socket} gave no JWT-SVID ({type(error).__name__}): "
            "is this workload registered?"
        ) from error
