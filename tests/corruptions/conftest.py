"""Puts this folder on the import path, so that the tests in folders below find ``corruption_pictures``."""
