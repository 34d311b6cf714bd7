"""Checkpoints of anomalib as MODEL: read without their code, built by the installed anomalib."""
