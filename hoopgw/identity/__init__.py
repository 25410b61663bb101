"""Who the caller is: issuers' tokens checked, our own made, keys and certificates kept.

A caller proves itself once, with a token of a configured OpenID Connect issuer, at the token
endpoint (`endpoint`). What it gets there is the gateway's own short token, and from that narrower
ones and session passwords. Nothing past this room knows which issuer vouched for a principal.
"""
