"""Optuna's trials run under Ray."""
