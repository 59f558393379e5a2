"""Classifies archives of any size with Ray: on this machine, or on a cluster's.

An archive's files are listed in blocks (`archive.py`), each block is classified by a worker into
one Parquet file (`worker.py`), and `actor_pool.py` hands the blocks out and takes workers that die
for nothing worse than a delay. What is done stands in the output folder alone (`batch_run.py`), so
a run that was stopped goes on from there.

Plain Ray actors, not Ray Data: a block's answers are written where they are made, a file whose
decoder crashes costs its own answer only, and nothing grows with the number of blocks.
"""
