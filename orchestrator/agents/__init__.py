"""Stores for agents: tools of the Model Context Protocol that read a store and never write."""
