"""Tests of `hoopgw.config`."""
