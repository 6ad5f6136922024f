"""Claims judged, one page, all of it written."""
