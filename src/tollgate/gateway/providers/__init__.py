"""What upstreams speak: one pure translator for each format, from bytes to usage quantities."""
