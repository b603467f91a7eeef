"""What DEC costs and how exact it is, measured; each module writes its last numbers to ``benchmarks/results``."""
