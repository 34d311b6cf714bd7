"""One record per task: from the model's outputs to a prediction, and everything that depends on the task."""
