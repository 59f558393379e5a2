"""Trains a network by a recipe and leaves a run folder."""
