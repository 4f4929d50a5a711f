"""Models to ONNX and Core ML, and the numbers that prove them equal."""
