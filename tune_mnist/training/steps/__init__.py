"""One optimisation step as fast as the machine goes."""
