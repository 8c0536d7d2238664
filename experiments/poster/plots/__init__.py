"""The poster's figures."""
