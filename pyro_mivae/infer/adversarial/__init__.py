"""An adversary in place of the ELBO's base: the generator and the discriminator of InfoGAN."""
