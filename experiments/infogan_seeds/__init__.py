"""InfoGAN in some forms, five seeds each, and the main job's VAE measured in the same way."""
