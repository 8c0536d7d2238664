"""What is run: data sets, arms, cells and blocks."""
