"""Which engine, precision and number of threads run a bundle on this machine."""
