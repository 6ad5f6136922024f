"""Tests, intervals and noise on arrays of accuracies."""
