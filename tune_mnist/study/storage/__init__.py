"""Where a study is kept for good: a folder, or a bucket with a working copy on each node."""
