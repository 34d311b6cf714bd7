"""Reports: the JSON document, its thumbnails, reading, and comparison of two reports."""
