"""The programs that the study runs: one draws the data, one trains and measures a cell."""
