"""Tests for `hoopgw.masking`."""
