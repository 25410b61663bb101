"""Tests of the PostgreSQL protocol package."""
