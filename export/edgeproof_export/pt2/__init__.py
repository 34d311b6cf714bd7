"""Exported programs (``.pt2``): read here first, so that PyTorch evaluates nothing that the file says."""
