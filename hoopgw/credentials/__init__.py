"""Secret sources: where the agent, and nobody else, gets a target's credentials from.

The configuration names a source by reference, and `make_source` makes a `SecretSource` of it:

======================================  ==========================================================
``env:NAME``                            an environment variable of the agent
``file:/path``                          a file that only the agent's user (or root) owns and reads
``systemd:NAME``                        a credential of the systemd unit (``LoadCredential=``)
``keyvault:https://VAULT/secrets/NAME``  an Azure Key Vault secret, by the agent's own identity
``entra:`` or ``entra:IDENTITY``        a Microsoft Entra token for what the target is
======================================  ==========================================================

A secret is fetched for each log-in and kept no longer than that; access tokens are kept until five
minutes before they end. Further kinds come under the entry-point group ``hoopgw.secrets``: the
entry point's name is the kind, its value a callable like those in `hoopgw.credentials.references`.
"""

from hoopgw.credentials.identities import EntraIdentity
from hoopgw.credentials.on_behalf import OnBehalfOf
from hoopgw.credentials.references import SourceContext, make_source
from hoopgw.credentials.sources import SecretSource

__all__ = ["EntraIdentity", "OnBehalfOf", "SecretSource", "SourceContext", "make_source"]
