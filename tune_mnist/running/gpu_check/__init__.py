"""What proves that a GPU trains right, and how fast."""
