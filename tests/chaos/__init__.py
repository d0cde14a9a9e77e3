"""Proof that nothing is lost and nothing doubles: sources, worker and broker of a real instance killed at random."""
