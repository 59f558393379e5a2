"""Finds pictures that show the same slice."""
