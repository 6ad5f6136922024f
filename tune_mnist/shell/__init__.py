"""One way to parse a command line, to fail and to stop."""
