"""Codecs: assets <-> the arrays that 3D-native models denoise."""
