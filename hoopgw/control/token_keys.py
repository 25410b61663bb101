"""The keys of gateway tokens in the running gateway: who must know them, and which one signs.

A rotation is three steps, each of which `hoopgw.control.keys` keeps in the state folder first:

1. `TokenKeys.publish` the next key besides the present one. It returns when all workers know both;
   a worker that does not answer is disconnected, and gets the keys when it comes back.
2. `TokenKeys.switch` to it: from here on it signs.
3. `TokenKeys.publish` without the old key, once all that it has signed is over.

So a token is never shown to a worker that does not know its key. Callers who verify tokens by
themselves read ``/sts/jwks.json``, which changes with step 1.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define
from joserfc.jwk import OKPKey
from twisted.logger import Logger

from hoopgw.control.fleet import Fleet
from hoopgw.identity.tokens import TokenSigner, TokenVerifier

log = Logger()


@define(eq=False)
class TokenKeys:
    """All that must learn of a change: the signer, control's own verifier, the workers."""

    signer: TokenSigner
    verifier: TokenVerifier
    """Control's own: the admin API and the token endpoint share it."""
    _fleet: Fleet

    async def publish(self, besides: Iterable[OKPKey]) -> list[str]:
        """Publish these keys besides the one that signs; return the workers that know them.

        Private parts are not looked at, and published nowhere.
        """
        self.signer.publish(besides)
        jwks = self.signer.jwks
        self.verifier.adopt(jwks)
        log.info("token keys are {kids}", kids=[key["kid"] for key in jwks["keys"]])
        # Who greets from now on is told in the answer; who has greeted before, here.
        return await self._fleet.call_all("token_keys", jwks)

    def switch(self, key: OKPKey) -> None:
        """Sign with a key that was published; the one before is published on.

        Raises:
            ValueError: it was not published.

        """
        self.signer.switch(key)
        log.info("token key {kid} signs from now on", kid=self.signer.kid)
