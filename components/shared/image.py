"""The container image of the tasks."""

DEFAULT_IMAGE = "imdb-pipeline-python:latest"
"""Runs every task; a build of docker/Dockerfile."""
