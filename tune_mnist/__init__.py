"""Distributed hyperparameter tuning on MNIST with Ray Tune."""

__version__ = "0.1.0"
