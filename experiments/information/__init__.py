"""The information of a trained run, from both sides."""
