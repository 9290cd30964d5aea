"""Compute a captioner: one interface, ONNX Runtime and PyTorch behind it, and the export from one to the other."""
