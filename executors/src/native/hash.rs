//! Row hashes and their order-free sums.
