"""A model kept, stressed, and read with."""
