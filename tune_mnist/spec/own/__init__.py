"""A model of one's own: found, read with what it imports, and made again from its text anywhere."""
