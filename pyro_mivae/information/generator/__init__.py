"""The information that a generator's codes carry about its images, without a guide."""
