"""Tests for `hoopgw.identity`."""
