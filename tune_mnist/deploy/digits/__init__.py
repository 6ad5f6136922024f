"""Pictures in, their digits out."""
