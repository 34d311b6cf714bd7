"""Figures and their intervals: accuracy, AUROC, parity, latency percentiles, gates."""
