"""What a generator's codes tell of its images: no guide takes part."""
