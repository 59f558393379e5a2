"""Searches a recipe by many short trainings."""
