"""Data sets come in as folders or tables; catalogues of slices with classes and groups go out."""
