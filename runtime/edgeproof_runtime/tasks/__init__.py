"""One record per task: predictions from the model's outputs, and everything else that depends on the task."""
