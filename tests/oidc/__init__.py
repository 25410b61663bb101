"""A real OpenID Connect provider for tests: npm's `oidc-provider`, which no part of hoopgw needs."""
