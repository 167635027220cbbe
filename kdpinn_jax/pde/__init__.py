"""PDEs as values: problems with their terms, conditions, derivatives, samplers, embeddings and networks."""

from . import geometry as geometry
