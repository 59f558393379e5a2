"""Draws phantom head slices with known tumours."""
