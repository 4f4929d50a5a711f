"""Encoders: torch, ONNX Runtime, Core ML and the interpreter behind one protocol."""
