"""One forward pass: hooks, statistics, kernels.

Legend of suffixes: T tokens of one sample, C channels, S samples. A *key* is the bit pattern of |x| as an integer: keys
order as the values do, and -1 stands for "no finite value". A *signed key* is minus the key for negative values.
"""
