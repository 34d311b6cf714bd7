"""Weight files of any training: read, find the tensors that fit a module, load them."""
