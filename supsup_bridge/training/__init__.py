"""Training of masks by the straight-through estimator."""
