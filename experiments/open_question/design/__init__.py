"""The design of the study: data sets, arms, cells and blocks."""
