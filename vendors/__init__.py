"""What we know of vendors, as data, and the one connector that reads it."""
