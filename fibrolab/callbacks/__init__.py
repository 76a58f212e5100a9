"""What happens around the training loop: progress, history, guards."""
