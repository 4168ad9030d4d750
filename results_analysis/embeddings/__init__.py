"""Embeddings: features of images projected to a plane, clustered, and drawn as a map."""
