"""Verification on golden cases, evaluation on datasets, and accuracy hop by hop."""
