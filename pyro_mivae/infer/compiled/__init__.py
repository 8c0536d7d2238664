"""The loss and its gradients as one compiled graph."""
