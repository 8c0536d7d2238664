"""The information of a trained run's codes about the images made from them."""
