"""What the codes of a trained run tell of the images made from them."""
