"""A run shown while it goes: on a terminal, on a live page, to Prometheus, TensorBoard and MLflow."""
