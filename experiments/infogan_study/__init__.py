"""The second study of the poster's open question: InfoGAN's properties, crossed."""
