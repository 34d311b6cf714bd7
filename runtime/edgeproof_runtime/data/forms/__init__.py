"""Forms of datasets: one reader per file, registered in `edgeproof_runtime.data.forms.registry`."""
