"""The main job: a VAE with the information term on digits."""
