"""Which slices belong together, in which order, and one answer for them."""
