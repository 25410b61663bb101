"""The identities at Microsoft Entra with which an agent fetches access tokens.

Each account of a target may name one of its own, so that a team's calls are that team's in Azure's
own logs and role assignments too. `azure-identity` does the talking, in a thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen

from hoopgw.credentials.azure import Credential
from hoopgw.credentials.sources import FileSource
from hoopgw.errors import ConfigError

PUBLIC_AUTHORITY: Final = "https://login.microsoftonline.com"
_PEM: Final = re.compile(r"-----BEGIN [A-Z ]+-----[^-]+-----END [A-Z ]+-----")
_ID: Final = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z.-]{0,253}")


@frozen(kw_only=True)
class EntraIdentity:
    """An application at Entra, and how the agent proves to be it: in exactly one way."""

    tenant: str
    """Its tenant: an id or a domain name."""
    client: str
    """The application's (client) id."""
    secret: Path | None = None
    """File with a client secret."""
    certificate: Path | None = None
    """PEM file with a certificate and its private key."""
    token_file: Path | None = None
    """File with a federated token, as a workload identity has it; it is read for each token."""
    authority: str = PUBLIC_AUTHORITY
    """Of the cloud."""
    authority_ca: Path | None = None
    """PEM file to trust for the authority, in place of the system's."""

    def __attrs_post_init__(self) -> None:
        if sum(map(bool, (self.secret, self.certificate, self.token_file))) != 1:
            raise ConfigError("expected one of secret, certificate and token_file")
        if not _ID.fullmatch(self.tenant) or not _ID.fullmatch(self.client):
            raise ConfigError("expected the ids of a tenant and of a client")
        parts = urlsplit(self.authority)
        if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ConfigError("expected an authority such as " + PUBLIC_AUTHORITY)

    def credential(self) -> Callable[[], Credential]:
        """Return what makes the credential; it reads files, so it is called in a thread."""
        return self._make

    def for_msal(self) -> str | dict[str, Any]:
        """Return what `msal` takes for a client's credential; reads files."""
        if self.token_file is not None:
            source = FileSource(self.token_file)
            return {"client_assertion": lambda: source.read().decode()}
        if self.certificate is not None:
            pem = FileSource(self.certificate).read().decode()
            blocks = _PEM.findall(pem)
            return {
                "private_key": "\n".join(each for each in blocks if "PRIVATE KEY" in each),
                "public_certificate": "\n".join(each for each in blocks if "CERTIFICATE" in each),
            }
        assert self.secret is not None  # one of three
        return FileSource(self.secret).read().decode()

    def _make(self) -> Credential:
        from azure.identity import (
            CertificateCredential,
            ClientSecretCredential,
            WorkloadIdentityCredential,
        )

        common: dict[str, Any] = {"authority": self.authority}
        if self.authority != PUBLIC_AUTHORITY:
            # Else the public cloud is asked whether it knows this authority.
            common["disable_instance_discovery"] = True
        if self.authority_ca is not None:
            common["connection_verify"] = str(self.authority_ca)
        if self.token_file is not None:
            return WorkloadIdentityCredential(
                tenant_id=self.tenant,
                client_id=self.client,
                token_file_path=str(self.token_file),
                **common,
            )
        if self.certificate is not None:
            pem = FileSource(self.certificate).read()
            return CertificateCredential(self.tenant, self.client, certificate_data=pem, **common)
        assert self.secret is not None  # one of three
        text = FileSource(self.secret).read().decode()
        return ClientSecretCredential(self.tenant, self.client, text, **common)
