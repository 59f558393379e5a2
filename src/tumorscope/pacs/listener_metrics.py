"""A listener's counters, as Prometheus reads them."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.process_collector import ProcessCollector


class ListenerMetrics:
    """A listener's counters; nothing in them tells of a patient or a study."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._objects = Counter(
            "tumorscope_objects_total",
            "Objects that came, by way and by what became of them.",
            ("way", "result"),
            registry=self._registry,
        )
        self._series = Counter(
            "tumorscope_series_total",
            "Series that were answered, whole or incomplete, or could not be.",
            ("result",),
            registry=self._registry,
        )
        self._deliveries = Counter(
            "tumorscope_delivery_failures_total",
            "Deliveries that failed and are tried again.",
            registry=self._registry,
        )
        self._waiting = Gauge(
            "tumorscope_spool_series",
            "Series in the spool, by their state.",
            ("state",),
            registry=self._registry,
        )

    def received(self, way: str, *, kept: bool) -> None:
        """Count an object."""
        self._objects.labels(way, "kept" if kept else "refused").inc()

    def series(self, result: str) -> None:
        """Count a series: `whole`, `incomplete` or `failed`."""
        self._series.labels(result).inc()

    def not_delivered(self) -> None:
        """Count a delivery that failed."""
        self._deliveries.inc()

    def text(self, waiting: Mapping[str, int]) -> bytes:
        """Return all counters in Prometheus's text format.

        Args:
            waiting: How many series the spool holds, by their state.
        """
        for state, count in waiting.items():
            self._waiting.labels(state).set(count)
        return generate_latest(self._registry)
