"""Real OpenID Connect providers for tests, which no part of hoopgw needs to run."""
