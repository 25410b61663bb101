"""Tests of `hoopgw.credentials`."""
