"""Files and who may write them: paths (every name and root), atomic writes, checksums, archives, leases.

Imports nothing else of the project.
"""
