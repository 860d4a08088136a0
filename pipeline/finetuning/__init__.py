"""Fine-tuning an encoder on the training subjects of each fold."""
