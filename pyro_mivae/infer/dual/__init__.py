"""The dual pass: draw the code, generate the data, score the guide."""
