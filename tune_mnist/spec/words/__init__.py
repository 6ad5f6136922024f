"""Specs and trainings in words: what they are called, and the command lines that ask for them."""
