"""A partition of slices and a recipe come in, a run folder with a trained network goes out."""
