"""`edgeproof serve`: a page to look at, metrics to scrape, and an inference API, from one process."""
