"""Keras: the residual networks of keras.applications."""
