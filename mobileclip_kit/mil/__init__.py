"""Read and execute a Core ML program on any machine."""
