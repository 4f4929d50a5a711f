"""Encoders: torch, ONNX Runtime, Core ML and its interpreter, Core AI and LiteRT behind one protocol."""
