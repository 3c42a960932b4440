"""The fixtures of the chart's tests, which no other test is to wait for: Helm's engine takes its time to load."""

from tests.fixtures.chart import chart, rendered

__all__ = ["chart", "rendered"]
