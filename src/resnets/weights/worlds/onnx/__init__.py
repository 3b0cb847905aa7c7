"""ONNX: networks that others have exported, matched by their graph."""
