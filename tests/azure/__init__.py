"""Tests of hoopgw_azure, with conversations that the real Azure CLI had."""
