"""Task inference: which task unlabelled images are of."""
