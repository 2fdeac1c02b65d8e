"""What autograd holds instead of a tensor."""
