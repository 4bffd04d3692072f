"""How figures are written out and drawn, and what a page says of a listing: pure, from values to values."""
