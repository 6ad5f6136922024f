"""The durable study: the truth about what is done."""
