"""Documents on paper: what is printed of them, made of the stored JSON text alone, and how it is worded."""
