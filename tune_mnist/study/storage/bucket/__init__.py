"""A study in an object store: an object an epoch, a lease, and a working copy on each node."""
