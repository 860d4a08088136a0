"""The extraction engine: plans shards, decodes in processes of its own, embeds in batches, publishes.

Empty on purpose: a decode worker imports a module of this package and should start fast.
"""
