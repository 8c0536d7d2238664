"""The dual of a model/guide pair: z observed, x latent."""
