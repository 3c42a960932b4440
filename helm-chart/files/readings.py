"""The file that `helm test` stores: readings.py FILE. Made when the test runs, so that each test has one of its own.

Three readings, one blank, one that cannot be used. Their metrics are none of DCGM's and their GPU is on no host: no
sum of the fleet takes them up, and no alert about hosts. The standard library alone.
"""

import sys
import time
from pathlib import Path

HEAD = "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw"
GPU = "helm-test,,GPU-helm-test,Helm test,,,,"
BLANK = "9223372036854775792"


def text(now: int) -> str:
    """The file's text; `now` is in unix seconds, and its values begin there, by which a test knows its own."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    values = {"marker": f"{now}", "half": f"{now}.5", "quarter": f"{now}.25", "blank": BLANK, "nonsense": "nonsense"}
    return "\n".join([HEAD, *(f"{at},helm_test_{name},{GPU},{value}," for name, value in values.items()), ""])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(int(time.time())), encoding="utf-8")
