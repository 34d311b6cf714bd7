"""Reports: the JSON document, its thumbnails, reading it back, comparing two of them."""
