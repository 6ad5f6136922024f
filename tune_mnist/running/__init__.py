"""A list of trainings run under Ray."""
