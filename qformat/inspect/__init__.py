"""What is inside a model file, for whoever shows it: summary, tensors, statistics, single blocks, lab."""
