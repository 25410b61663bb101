"""The control listener's certificate, and its renewal while the process runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from hoopgw.config import GatewayConfig
from hoopgw.errors import ConfigError
from hoopgw.identity.certificates import needs_renewal
from hoopgw.identity.keyfiles import renew_gateway_certificate

log = Logger()


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class ListenerTls:
    """Secures each new connection with the newest certificate."""

    _config: GatewayConfig
    _now: Callable[[], float]
    _on_renewed: Callable[[], None] = lambda: None
    _options: CertificateOptions = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._renew()
        self._options = load_options(self._config)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a connection with the newest certificate."""
        return SSL.Connection(self._options.getContext(), None)

    def look(self) -> None:
        """Renew the certificate if it is time; call this now and then."""
        try:
            if self._renew():
                self._options = load_options(self._config)
                self._on_renewed()
        except ConfigError as error:
            log.error("the gateway's certificate was not renewed: {error}", error=error)

    @property
    def authority(self) -> x509.Certificate:
        """The last certificate of the chain that callers must trust."""
        if self._config.tls.certificate is None:
            return _certificates(self._config.paths.ca_certificate.read_bytes())[-1]
        return _certificates(self._config.certificate_file.read_bytes())[-1]

    def _renew(self) -> bool:
        """Renew what is ours to renew; an operator's own certificate is not."""
        if self._config.tls.certificate is not None:
            return False
        moment = datetime.fromtimestamp(self._now(), UTC)
        present = _certificates(self._config.certificate_file.read_bytes())[0]
        if not needs_renewal(present, moment):
            return False
        renew_gateway_certificate(self._config.paths, self._config.tls.names, moment)
        log.info("the gateway's certificate was renewed")
        return True


def load_options(config: GatewayConfig) -> CertificateOptions:
    """Read certificate chain and key.

    Raises:
        ConfigError: they cannot be read, or do not fit.

    """
    try:
        first, *rest = _certificates(config.certificate_file.read_bytes())
        key = load_pem_private_key(config.key_file.read_bytes(), password=None)
        # Annotated with pyOpenSSL's own classes, which pyOpenSSL itself has deprecated.
        make: Any = CertificateOptions
        options = make(
            privateKey=key,
            certificate=first,
            extraCertChain=rest,
            raiseMinimumTo=TLSVersion.TLSv1_2,
        )
        options.getContext().check_privatekey()
    except (OSError, TypeError, ValueError, SSL.Error) as error:
        raise ConfigError(
            f"{config.certificate_file}, {config.key_file}: cannot be used for TLS: {error}"
        ) from error
    made: CertificateOptions = options
    return made


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ConfigError("the gateway's certificate is no PEM certificate") from error
