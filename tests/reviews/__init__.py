"""Tests of hoopgw.reviews."""
