"""The design of the study: data sets, cells and blocks."""
