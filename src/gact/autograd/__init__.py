"""What autograd itself can tell, read from its graph: the one place that knows torch's nodes and their slots."""
