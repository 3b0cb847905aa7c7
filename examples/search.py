"""Embeddings of pictures, and the nearest neighbours of one.

python examples/search.py MODEL photos/ query.jpg
"""

import sys
from pathlib import Path

from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

import resnets

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def main(model, folder, query):
    classifier = resnets.load(model)
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    index = NearestNeighbors(metric="cosine").fit(classifier.embed(paths))  # (pictures, width of the last stage)
    distances, numbers = index.kneighbors(normalize(classifier.embed(query)), n_neighbors=min(5, len(paths)))
    for distance, number in zip(distances[0], numbers[0], strict=True):
        print(f"{1 - distance:.3f}  {paths[number]}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
