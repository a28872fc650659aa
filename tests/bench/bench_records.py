"""Records for tests, with round figures."""

from zoo.bench.record import Record, Report


def record(**changes) -> Record:
    """A record of a fast model on a quiet machine, but for ``changes``."""
    values = {
        **{"model": "pvcnn_sem_c0p25", "task": "semantic_segmentation", "requested": "eager", "runtime": "eager"},
        **{"requested_precision": "fp32", "precision": "fp32", "device": "cpu", "batch": 1, "input": "9 x 4096"},
        **{"unit": "cloud", "frames": None, "points": None, "threads": 2, "mode": "single", "streams": 1},
        **{"cuda_graph": False, "setting": "", "count": 100, "warmup": 10, "mean_ms": 10.5, "p50_ms": 10.0},
        **{
            "p90_ms": 11.0,
            "p95_ms": 12.0,
            "p99_ms": 15.0,
            "spread_ms": 0.5,
            "noise": 0.01,
            "others": 0.0,
            "noisy": False,
        },
        **{"throughput": 95.0, "parameters": 200_000, "macs": 10**9, "memory_mb": 900.0, "prepare_memory_mb": 950.0},
        **{"base_memory_mb": 700.0, "load_seconds": 0.5, "prepare_seconds": 1.5, "first_ms": 30.0},
        **{"decode_ms": 1.0, "preprocess_ms": 2.0, "transfer_ms": 0.0, "model_ms": 11.0, "postprocess_ms": 1.0},
        "yardstick_ms": 1.0,
    }
    return Record(**{**values, **changes})


def report(*records: Record, **machine: str) -> Report:
    """A report of ``records`` on one machine, but for what ``machine`` says."""
    return Report({"processor": "Fast CPU", "cores": "2", "threads": "2", **machine}, list(records))
