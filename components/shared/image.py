"""The container image of the tasks."""

DEFAULT_IMAGE = "imdb-pipeline-python:0.1.0"
"""Runs every task; a build of docker/Dockerfile.

The tag is the project's version: `latest` would make Kubernetes pull an image that a node has.
"""
