"""What one run does: data, training, measuring."""
