"""Pictures in, a trained network out."""
