"""Datasets and image files, read one by one."""
