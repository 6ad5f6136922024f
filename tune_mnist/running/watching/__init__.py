"""A run shown while it goes: on a terminal, to Prometheus, TensorBoard and MLflow."""
