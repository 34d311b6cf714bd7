"""PyTorch models of others: take wrappers off, find the class scores, convert to ONNX."""
