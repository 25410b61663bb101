"""Azure behind hoopgw: what requests to Resource Manager, Key Vault and Storage ask for.

Nothing here does I/O. A request comes in as method, canonical path, query, headers and body; an
`hoopgw.events.Operation` comes out, or `UnclearRequestError`, which is a refusal.
"""
