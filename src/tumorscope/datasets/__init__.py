"""Data sets: folders and tables as catalogues of slices with classes, groups and splits."""
