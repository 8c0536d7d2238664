"""InfoGAN on digits: the poster's Figure 1, with an adversary in place of the ELBO."""
