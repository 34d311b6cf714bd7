"""ONNX files of others as MODEL: read, mend what engines cannot take, find the class scores."""
