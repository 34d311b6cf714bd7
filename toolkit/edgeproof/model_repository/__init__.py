"""A model repository of NVIDIA's Triton Inference Server, written from a bundle."""
