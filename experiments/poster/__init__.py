"""The poster's figures and claims."""
