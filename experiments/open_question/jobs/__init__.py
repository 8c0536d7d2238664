"""The work of one run: data, training, measuring."""
