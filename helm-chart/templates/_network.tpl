{{/* Network policies: everything is denied first, then each component is let through to what it needs. */}}

{{- define "telemetry.guards" -}}
{{- if dig "enabled" true (.Values.networkPolicy | default dict) }}yes{{ end -}}
{{- end }}

{{/* A NetworkPolicy up to its rules: (list $ "api"). */}}
{{- define "telemetry.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "telemetry.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "telemetry.selector" . | nindent 6 }}
{{- end }}

{{/* Pods of components, as peers: (list $ "streamer" "collector"). */}}
{{- define "telemetry.peers" -}}
{{- $root := index . 0 -}}
{{- range rest . }}
- podSelector:
    matchLabels:
      {{- include "telemetry.selector" (list $root .) | nindent 6 }}
{{- end }}
{{- end }}

{{- define "telemetry.toNames" -}}
# names: wherever the cluster's DNS is
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{/* To Redis or PostgreSQL, the chart's or another: (list $ "redis" port peers). */}}
{{- define "telemetry.toServer" -}}
{{- $root := index . 0 -}}
- ports:
    - {protocol: TCP, port: {{ index . 2 }}}
  {{- if include "telemetry.own" (list $root (index . 1)) }}
  to:
    {{- include "telemetry.peers" (list $root (index . 1)) | trim | nindent 4 }}
  {{- else }}
  {{- with index . 3 }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}

{{- define "telemetry.toServers" -}}
{{- $policy := .Values.networkPolicy | default dict -}}
{{ include "telemetry.toNames" . }}
{{ include "telemetry.toServer" (list . "redis" (dig "port" 6379 (.Values.redis | default dict)) $policy.redisTo) }}
{{ include "telemetry.toServer" (list . "postgres" (dig "port" 5432 (.Values.postgres | default dict)) $policy.postgresTo) }}
{{- end }}

{{/* From who scrapes the health port, if anybody does. The kubelet's probes come from the node and need no rule. */}}
{{- define "telemetry.fromMetrics" -}}
{{- $monitoring := include "telemetry.fromMonitoring" (list . "podMonitor") | trim }}
{{- $others := dig "metricsFrom" list (.Values.networkPolicy | default dict) }}
{{- if or $monitoring $others }}
- ports:
    - {protocol: TCP, port: health}
  from:
    {{- with $monitoring }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $others }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}
