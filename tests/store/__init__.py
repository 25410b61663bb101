"""Tests of hoopgw.store."""
