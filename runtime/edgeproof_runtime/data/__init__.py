"""Datasets, image files and the labels of clips."""
