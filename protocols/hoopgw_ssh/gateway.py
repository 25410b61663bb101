"""The client leg: from an accepted connection to a log-in, and what connections share.

Conch asks a factory for host keys and services; both are a connection's own here, so that what was
begun with one certificate of the host goes on with it.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.service import SSHService
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import ConfigError, RecorderError, UnavailableError
from hoopgw.identity.ssh_certificates import SshHost
from hoopgw.recording.inputs import InputBook
from hoopgw.recording.records import SessionRefused
from hoopgw.sessions.strangers import Strangers
from hoopgw.spi import GatewayContext
from hoopgw_ssh.device import DeviceDialogue
from hoopgw_ssh.joined import Joined
from hoopgw_ssh.negotiation import Offer
from hoopgw_ssh.session import Session
from hoopgw_ssh.settings import ListenerOptions
from hoopgw_ssh.transport import ServerTransport
from hoopgw_ssh.user_login import CERTIFICATE, LoggedIn, UserLogin, Wanted
from hoopgw_ssh.wire import string

log = Logger()

_ED25519: Final = b"ssh-ed25519"


@frozen
class _Shown:
    """What the gateway proves itself with, as Conch takes keys."""

    _blob: bytes
    _key: Ed25519PrivateKey

    def blob(self) -> bytes:
        """Return what the client is shown: a certificate, or a plain key."""
        return self._blob

    def sign(self, data: bytes, signatureType: bytes) -> bytes:
        """Sign: a certificate's signature is its key's."""
        del signatureType
        return string(_ED25519) + string(self._key.sign(data))


class SshFactory(Factory):
    """Accepts SSH clients.

    Args:
        context: of the gateway.

    Raises:
        ConfigError: the listener's options make no sense.

    """

    noisy = False

    def __init__(self, context: GatewayContext) -> None:
        self.context = context
        self.options = ListenerOptions.of(context.listener)
        self.inputs = InputBook()
        self.strangers = Strangers(self.options.strangers, self.options.strangers_per_address)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Make a connection's protocol; None if the gateway has nothing to prove itself with."""
        try:
            host = self.context.ssh_host()
        except (ConfigError, UnavailableError) as error:
            log.error("an SSH client is not served: {error}", error=error)
            return None
        return ClientConnection(self, host, str(getattr(addr, "host", "local")))

    def getService(self, transport: ClientConnection, name: bytes) -> Any:
        """Return what makes the service that a client asks for; for Conch."""
        return transport.make_login if name == UserLogin.name else None


class ClientConnection(ServerTransport):
    """One client: keys, then a `UserLogin`, then a `Session`."""

    user_algorithms = (CERTIFICATE,)

    def __init__(self, factory: SshFactory, host: SshHost, address: str) -> None:
        self.factory = factory
        self.clock = factory.context.clock
        self._context = factory.context
        self._address = address
        plain = host.key.public_key().public_bytes_raw()
        self._host_keys = {
            CERTIFICATE: _Shown(host.certificate, host.key),
            _ED25519: _Shown(string(_ED25519) + string(plain), host.key),
        }
        self._login: UserLogin | None = None
        self._session: Session | None = None
        self._is_known = False

    # Keys

    def host_key_algorithms(self) -> tuple[bytes, ...]:
        """Return the algorithms of host keys: a certificate first, so that nobody is asked."""
        return tuple(self._host_keys)

    def _getHostKeys(self, keyAlg: bytes) -> Any:
        """Return what is shown and what signs; for Conch, which takes no certificates for keys."""
        shown = self._host_keys[keyAlg]
        return shown, shown

    def sendKexInit(self, theirs: Offer | None = None) -> None:
        """Keep data back while keys are exchanged."""
        super().sendKexInit(theirs)
        if isinstance(self.service, Joined):
            self.service.exchanging(keys=self.is_exchanging)

    def exchanged(self) -> None:
        """Go on."""
        if isinstance(self.service, Joined):
            self.service.exchanging(keys=False)

    # The connection

    def connectionMade(self) -> None:
        """Begin, among others who have not logged in."""
        self.factory.strangers.came(self._address, self)
        super().connectionMade()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """End all that was begun."""
        self.factory.strangers.left(self._address, self)
        super().connectionLost(reason)
        login = self._login
        if login is not None and login.refused and not self._is_known:
            self._record_refusal(login.wanted, login.refused)

    def turn_away(self) -> None:
        """Close: others want to log in, too."""
        self.factory.strangers.left(self._address, self)
        self.transport.abortConnection()

    # Logging in

    def make_login(self) -> UserLogin:
        """Return what logs a client in."""
        options = self.factory.options
        self._login = UserLogin(
            self._context.logins.ssh_certificate,
            self._address,
            self.clock,
            self._admit,
            options.login_timeout,
            options.attempts,
            self._dialogue(options),
        )
        return self._login

    def _dialogue(self, options: ListenerOptions) -> DeviceDialogue | None:
        """Return how people log in who have no certificate; None if they do not."""
        if not options.offers_codes(self._address):
            return None
        return DeviceDialogue(self._context.devices, options.device_code)

    async def _admit(self, found: LoggedIn) -> SSHService:
        """Open a session for somebody who has logged in."""
        self._is_known = True
        self.factory.strangers.left(self._address, self)
        self._session = session = Session(
            self._context, self.factory.inputs, self, self._address, found
        )
        try:
            return await session.open()
        except BaseException:
            if not session.has_begun:
                self._record_refusal(found.wanted, session.why_over, session.id)
            raise

    def _record_refusal(self, wanted: Wanted | None, why: str, session: str = "") -> None:
        if wanted is None:
            log.info("a client was refused: {why}", why=why, address=self._address)
            return
        record = SessionRefused(
            session or self._context.new_session(),
            0,
            int(self.clock.seconds() * 1e9),
            "ssh",
            wanted.target,
            wanted.account,
            self._address,
            why,
        )
        try:
            self._context.recorder.put_off(record)
        except RecorderError as error:
            log.error("a refused log-in could not be recorded: {error}", error=error)


def make_factory(context: GatewayContext) -> SshFactory:
    """Build the client leg; see `hoopgw.spi.ProtocolSpec`."""
    return SshFactory(context)
