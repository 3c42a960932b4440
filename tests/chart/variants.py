"""Sets of values that together turn on every switch of the chart: what must hold of the chart must hold of each."""

from __future__ import annotations

from typing import Any

__all__ = ["VARIANTS"]

Values = dict[str, Any]

EXTRA: Values = {
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "extraEnvFrom": [{"configMapRef": {"name": "more", "optional": True}}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "podLabels": {"team": "gpu"},
    "podAnnotations": {"example.org/note": "yes"},
    "nodeSelector": {"kubernetes.io/arch": "arm64"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}}
            ]
        }
    },
    "priorityClassName": "high",
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
}
SERVER_EXTRA: Values = {name: EXTRA[name] for name in ("podLabels", "podAnnotations", "nodeSelector", "tolerations")}

VARIANTS: dict[str, Values] = {
    "nothing set": {},
    "scaled": {"streamer": {"replicas": 4}, "collector": {"replicas": 4, "workers": 2}, "api": {"replicas": 3}},
    "by themselves": {
        "collector": {"keda": {"enabled": True, "maxReplicas": 12}},
        "api": {"autoscaling": {"enabled": True, "maxReplicas": 9}},
    },
    "servers of one's own": {
        "redis": {"enabled": False, "url": "rediss://user:hunter2@queue.example.org:6380/0"},
        "postgres": {
            "enabled": False,
            "owner": {"url": "postgresql://owner:hunter2@db.example.org/gpu"},
            "writer": {"existingSecret": "writers-login", "key": "uri"},
            "reader": {"existingSecret": "readers-login"},
        },
        "networkPolicy": {
            "redisTo": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
            "postgresTo": [{"ipBlock": {"cidr": "10.2.0.0/16"}}],
        },
    },
    "one login, a Sentinel": {
        "redis": {"enabled": False, "url": "redis+sentinel://:hunter2@s1:26379,s2:26379/0?service=queue"},
        "postgres": {"enabled": False, "owner": {"existingSecret": "database"}},
        "collector": {
            "keda": {
                "enabled": True,
                "triggers": [
                    {
                        "type": "redis-sentinel-streams",
                        "metadata": {"addresses": "s1:26379,s2:26379", "stream": "gpu:{samples}", "streamLength": "50"},
                    }
                ],
            }
        },
    },
    "Secrets of one's own": {
        "redis": {"existingSecret": "queue"},
        "postgres": {
            "owner": {"existingSecret": "o"},
            "writer": {"existingSecret": "w"},
            "reader": {"existingSecret": "r"},
        },
        "api": {"auth": {"existingSecret": "tokens"}, "writer": True},
    },
    "an ingress with TLS": {
        "api": {
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "hosts": ["telemetry.example.org"],
                "tlsSecret": "certificate",
                "annotations": {"example.org/note": "yes"},
            },
            "corsOrigins": ["https://grafana.example.org"],
            "metricsAuth": True,
        },
        "networkPolicy": {
            "apiFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        },
    },
    "a gateway of its own": {
        "api": {
            "httpRoute": {
                "enabled": True,
                "hostnames": ["telemetry.example.org", "gpu.example.org"],
                "gateway": {"className": "istio", "tlsSecret": "certificate"},
            }
        }
    },
    "a gateway that exists": {
        "api": {
            "service": {"type": "ClusterIP", "port": 8000},
            "httpRoute": {
                "enabled": True,
                "hostnames": ["telemetry.example.org"],
                "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
            },
        }
    },
    "a file on a claim": {"streamer": {"source": {"pvc": {"claimName": "exports", "path": "a/b.csv"}}}},
    "a file from an address": {
        "streamer": {"source": {"url": {"address": "https://files.example.org/dcgm.csv", "sha256": "0" * 64}}},
        "networkPolicy": {"sourceTo": [{"ipBlock": {"cidr": "10.3.0.0/16"}}]},
    },
    "nothing kept, nobody guarded": {
        "redis": {"persistence": {"enabled": False}},
        "postgres": {"persistence": {"enabled": False}},
        "networkPolicy": {"enabled": False},
        "api": {"auth": {"enabled": False}, "pdb": {"enabled": False}},
        "serviceAccount": {"create": False},
        "tests": {"enabled": False},
        "streamer": {"pdb": {"enabled": False}},
        "collector": {"pdb": {"enabled": False}},
    },
    "everything that can be added": {
        "fullnameOverride": "gpu",
        "commonLabels": {"cost-centre": "42"},
        "imagePullSecrets": [{"name": "registry"}],
        "image": {"repository": "registry.example.org/telemetry-pipeline", "tag": "0.2.0"},
        "streamer": {**EXTRA, "image": "registry.example.org/streamer:1"},
        "collector": {**EXTRA, "image": {"repository": "registry.example.org/collector", "tag": "2"}},
        "api": {**EXTRA, "image": {"digest": "sha256:" + "a" * 64}},
        "redis": {
            **SERVER_EXTRA,
            "maxmemory": "2gb",
            "extraConfig": "timeout 0",
            "persistence": {"existingClaim": "q"},
        },
        "postgres": {**SERVER_EXTRA, "persistence": {"size": "1Ti", "storageClass": "fast"}},
        "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}, "data": {"a": "b"}}],
    },
}
"""What it is for -> values."""
