"""The vendors' own batches behind ours."""
