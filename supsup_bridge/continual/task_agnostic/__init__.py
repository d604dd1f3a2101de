"""Learning from a stream whose task boundaries nobody names (NNs)."""
