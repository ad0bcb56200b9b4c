"""YAML as kubectl reads it, from text to JSON types and back. Knows nothing of DINO."""
