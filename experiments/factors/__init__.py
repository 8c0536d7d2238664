"""How the measured factors of MNIST's digits are distributed."""
