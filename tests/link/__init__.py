"""Tests of `hoopgw.link`."""
