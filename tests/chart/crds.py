"""What the chart may say in objects that Kubernetes does not know by itself, as JSON schemas.

Cut by hand from the CRDs' own schemas (all Apache-2.0) to the fields that the chart has a use for: KEDA 2.17
(config/crd/bases), Gateway API 1.3 (config/crd/standard), Prometheus Operator 0.85 (example/prometheus-operator-crd).
Another field is refused, so that who begins to use one looks it up and adds it here.

What does not live here: Kubernetes' own kinds, whose schemas come with the package kubernetes-validate.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CRDS"]

Schema = dict[str, Any]
STRING: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 253}
WHOLE: Schema = {"type": "integer"}
YES: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION: Schema = {"type": "string", "pattern": r"^(0|(\d+(ms|s|m|h|d|w|y))+)$"}


def _object(*required: str, **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def _list(of: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": of, "minItems": least}


def _kind(spec: Schema) -> Schema:
    metadata = {"type": "object", "properties": {"labels": TEXTS, "annotations": TEXTS}, "required": ["name"]}
    return _object(
        "apiVersion", "kind", "metadata", "spec", apiVersion=STRING, kind=STRING, metadata=metadata, spec=spec
    )


_SCALING = _object(
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    policies=_list(
        _object("type", "value", "periodSeconds", type={"enum": ["Pods", "Percent"]}, value=WHOLE, periodSeconds=WHOLE)
    ),
)
_SCALED_OBJECT = _object(
    "scaleTargetRef",
    "triggers",
    scaleTargetRef=_object("name", name=NAME, kind=STRING, apiVersion=STRING, envSourceContainerName=STRING),
    pollingInterval=WHOLE,
    cooldownPeriod=WHOLE,
    initialCooldownPeriod=WHOLE,
    idleReplicaCount=WHOLE,
    minReplicaCount=WHOLE,
    maxReplicaCount=WHOLE,
    fallback=_object(
        "failureThreshold",
        "replicas",
        failureThreshold=WHOLE,
        replicas=WHOLE,
        behavior={"enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]},
    ),
    advanced=_object(
        restoreToOriginalReplicaCount=YES,
        horizontalPodAutoscalerConfig=_object(name=STRING, behavior=_object(scaleUp=_SCALING, scaleDown=_SCALING)),
    ),
    triggers=_list(
        _object(
            "type",
            "metadata",
            type=NAME,
            name=STRING,
            metadata=TEXTS,
            metricType={"enum": ["AverageValue", "Value", "Utilization"]},
            useCachedMetrics=YES,
            authenticationRef=_object(
                "name", name=NAME, kind={"enum": ["TriggerAuthentication", "ClusterTriggerAuthentication"]}
            ),
        )
    ),
)
_TRIGGER_AUTHENTICATION = _object(
    secretTargetRef=_list(_object("parameter", "name", "key", parameter=NAME, name=NAME, key=NAME))
)

_REFERENCE: Schema = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 253}
_HOSTNAME: Schema = {
    "type": "string",
    "maxLength": 253,
    "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
}
_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
_HTTP_ROUTE = _object(
    parentRefs=_list(
        _object("name", name=NAME, namespace=_REFERENCE, sectionName=NAME, group=STRING, kind=STRING, port=_PORT)
    ),
    hostnames=_list(_HOSTNAME),
    rules=_list(
        _object(
            name=NAME,
            matches=_list(
                _object(path=_object(type={"enum": ["Exact", "PathPrefix", "RegularExpression"]}, value=STRING))
            ),
            backendRefs=_list(_object("name", name=NAME, port=_PORT, kind=STRING, group=STRING, weight=WHOLE)),
            timeouts=_object(request=DURATION, backendRequest=DURATION),
        )
    ),
)
_GATEWAY = _object(
    "gatewayClassName",
    "listeners",
    gatewayClassName=NAME,
    listeners=_list(
        _object(
            "name",
            "port",
            "protocol",
            name=_REFERENCE,
            port=_PORT,
            protocol={"enum": ["HTTP", "HTTPS", "TLS", "TCP", "UDP"]},
            hostname=_HOSTNAME,
            tls=_object(
                mode={"enum": ["Terminate", "Passthrough"]},
                certificateRefs=_list(_object("name", name=NAME, kind=STRING, group=STRING, namespace=_REFERENCE)),
            ),
            allowedRoutes=_object(namespaces={"type": "object"}, kinds={"type": "array"}),
        ),
        least=1,
    ),
)

_RELABEL = _object(
    sourceLabels=_list(STRING),
    targetLabel=STRING,
    regex=STRING,
    replacement=STRING,
    separator=STRING,
    action={"enum": ["replace", "keep", "drop", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase"]},
)
_SECRET_KEY = _object("key", key=NAME, name=STRING, optional=YES)
_ENDPOINT = _object(
    port=STRING,
    path=STRING,
    scheme={"enum": ["http", "https"]},
    interval=DURATION,
    scrapeTimeout=DURATION,
    honorLabels=YES,
    honorTimestamps=YES,
    params={"type": "object", "additionalProperties": {"type": "array", "items": STRING}},
    authorization=_object(type=STRING, credentials=_SECRET_KEY),
    bearerTokenSecret=_SECRET_KEY,
    relabelings=_list(_RELABEL),
    metricRelabelings=_list(_RELABEL),
)
_SELECTOR = _object(matchLabels=TEXTS, matchExpressions={"type": "array"})
_NAMESPACES = _object(any=YES, matchNames=_list(STRING))
_MONITOR: dict[str, Schema] = {
    "selector": _SELECTOR,
    "namespaceSelector": _NAMESPACES,
    "jobLabel": STRING,
    "sampleLimit": WHOLE,
    "podTargetLabels": _list(STRING),
}
_RULE = _object(
    "expr",
    expr={"type": ["string", "integer"]},
    alert=NAME,
    record=NAME,
    labels=TEXTS,
    annotations=TEXTS,
    keep_firing_for=DURATION,
    **{"for": DURATION},
)
_GROUP = _object("name", name=NAME, interval=DURATION, rules=_list(_RULE))

CRDS: dict[tuple[str, str], Schema] = {
    ("keda.sh/v1alpha1", "ScaledObject"): _kind(_SCALED_OBJECT),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): _kind(_TRIGGER_AUTHENTICATION),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _kind(_HTTP_ROUTE),
    ("gateway.networking.k8s.io/v1", "Gateway"): _kind(_GATEWAY),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _kind(
        _object(
            "selector",
            "endpoints",
            **_MONITOR,
            targetLabels=_list(STRING),
            endpoints=_list(_ENDPOINT),
        )
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): _kind(
        _object("selector", **_MONITOR, podMetricsEndpoints=_list(_ENDPOINT))
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _kind(_object(groups=_list(_GROUP))),
}
"""(apiVersion, kind) -> the schema of a whole object."""
