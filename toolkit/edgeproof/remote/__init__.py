"""A bundle's model on a server that speaks the Open Inference Protocol: `edgeproof serve`, Triton, KServe."""
