"""Migrations: ``<backend>_<number>_<words>.sql``, applied in the order of their numbers."""
