"""Caffe: He's own files of 2015."""
