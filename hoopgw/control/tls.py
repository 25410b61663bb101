"""The gateway's certificates: renewed here in time, and served by the control listener.

Control is the one that may: it has the CAs' keys. Workers are told, and look at the files anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
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
from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.identity.certificates import needs_renewal
from hoopgw.identity.keyfiles import renew_gateway_certificate, renew_link_certificate
from hoopgw.identity.served import ServedCertificate

log = Logger()


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class ListenerTls:
    """Secures each new connection with the newest certificate.

    Raises (when made):
        ConfigError, UnavailableError: there is no certificate that could be served.

    """

    _config: GatewayConfig
    _now: Callable[[], float]
    _on_renewed: Callable[[], None] = lambda: None
    """Called when there are new certificates; the link's may be the only one."""
    _served: ServedCertificate = field(init=False)
    _options: CertificateOptions = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._renew()
        self._served = ServedCertificate(self._config.certificate_file, self._config.key_file)
        self._options = make_options(self._served.pem)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a connection with the newest certificate."""
        return SSL.Connection(self._options.getContext(), None)

    def look(self) -> None:
        """Renew what is due, and serve what is new; call this now and then."""
        try:
            renewed = self._renew()
            replaced = self._served.look()
            if replaced:
                self._options = make_options(self._served.pem)
                log.info("the control listener shows a new certificate")
        except (ConfigError, UnavailableError) as error:
            log.error("a certificate was not renewed: {error}", error=error)
            return
        if renewed or replaced:
            self._on_renewed()

    @property
    def authority(self) -> x509.Certificate:
        """The last certificate of the chain that callers must trust."""
        if self._config.tls.certificate is None:
            return _certificates(self._config.paths.ca_certificate)[-1]
        return _certificates(self._config.certificate_file)[-1]

    def _renew(self) -> bool:
        """Renew what is ours to renew and is near its end; an operator's own certificate is not."""
        moment = datetime.fromtimestamp(self._now(), UTC)
        paths, renewed = self._config.paths, False
        if self._config.tls.certificate is None and is_due(paths.gateway_certificate, moment):
            renew_gateway_certificate(paths, self._config.tls.names, moment)
            log.info("the gateway's certificate was renewed")
            renewed = True
        if is_due(paths.link_certificate, moment):
            renew_link_certificate(paths, moment)
            log.info("the link's certificate was renewed")
            renewed = True
        return renewed


def is_due(path: Path, moment: datetime) -> bool:
    """Say whether a listener's certificate is to be renewed. Raises `ConfigError`."""
    return needs_renewal(_certificates(path)[0], moment)


def make_options(pem: bytes) -> CertificateOptions:
    """Return Twisted's form of a key and its chain, which fit."""
    first, *rest = x509.load_pem_x509_certificates(pem)
    # Annotated with pyOpenSSL's own classes, which pyOpenSSL itself has deprecated.
    make: Any = CertificateOptions
    made: CertificateOptions = make(
        privateKey=load_pem_private_key(pem, password=None),
        certificate=first,
        extraCertChain=rest,
        raiseMinimumTo=TLSVersion.TLSv1_2,
    )
    return made


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is no certificate as PEM") from error
