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

{{/*
Ports of a server of one's own, as YAML: those that values say, else that of its URL; none where the chart cannot know
them, and then any port is let through: (list said url scheme's-port).
*/}}
{{- define "telemetry.portsOf" -}}
{{- $said := index . 0 -}}
{{- $url := index . 1 | default "" -}}
{{- if $said -}}
{{- range $said }}{{ printf "- %d\n" (int .) }}{{ end -}}
{{- else if regexMatch "^(redis|rediss|postgres|postgresql|http|https)://" $url -}}
{{- /* several hosts, and those of a query, are more than one port can tell; a login may hold any sign but these */ -}}
{{- $place := regexFind "^[a-z]+://[^/?#]*" $url | regexFind "[^@/]*$" -}}
{{- if not (or (contains "," $place) (eq $place "") (regexMatch "[?&](host|port)=" $url)) -}}
{{- printf "- %s\n" (regexFind ":[0-9]+$" $place | trimPrefix ":" | default (index . 2 | toString)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A rule's ports and peers, each left out where there are none: (list ports peers). An empty rule allows everything. */}}
{{- define "telemetry.rule" -}}
{{- $rule := dict -}}
{{- $ports := list -}}
{{- range index . 0 }}{{ $ports = append $ports (dict "protocol" "TCP" "port" (int .)) }}{{ end -}}
{{- with $ports }}{{ $_ := set $rule "ports" . }}{{ end -}}
{{- with index . 1 }}{{ $_ := set $rule "to" . }}{{ end -}}
{{- list $rule | toYaml -}}
{{- end }}

{{/* To Redis or PostgreSQL, the chart's or another: (list $ "redis" port urls). */}}
{{- define "telemetry.toServer" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- if include "telemetry.own" (list $root $name) -}}
- ports:
    - {protocol: TCP, port: {{ index . 2 }}}
  to:
    {{- include "telemetry.peers" (list $root $name) | trim | nindent 4 }}
{{- else -}}
{{- $policy := $root.Values.networkPolicy | default dict -}}
{{- $said := get $policy (printf "%sPorts" $name) -}}
{{- $ports := list -}}
{{- $known := true -}}
{{- range index . 3 -}}
{{- $found := include "telemetry.portsOf" (list $said . (ternary 6379 5432 (eq $name "redis"))) | fromYamlArray -}}
{{- if not $found }}{{ $known = false }}{{ end -}}
{{- $ports = concat $ports $found | uniq -}}
{{- end -}}
{{- include "telemetry.rule" (list (ternary $ports list $known) (get $policy (printf "%sTo" $name))) -}}
{{- end -}}
{{- end }}

{{/* The URLs by which the roles log in; an empty one where a Secret of one's own has it. */}}
{{- define "telemetry.databaseUrls" -}}
{{- $urls := list -}}
{{- range ternary (list "owner" "writer" "reader") (list "writer" "reader") (eq (include "telemetry.migrates" .) "yes") -}}
{{- $urls = append $urls ((include "telemetry.loginValues" (list $ .) | fromYaml).url | default "") -}}
{{- end -}}
{{- $urls | uniq | toYaml -}}
{{- end }}

{{- define "telemetry.toServers" -}}
{{- $redis := .Values.redis | default dict -}}
{{ include "telemetry.toNames" . }}
{{ include "telemetry.toServer" (list . "redis" (dig "port" 6379 $redis) (list ($redis.url | default ""))) }}
{{ include "telemetry.toServer" (list . "postgres" (dig "port" 5432 (.Values.postgres | default dict)) (include "telemetry.databaseUrls" . | fromYamlArray)) }}
{{- end }}

{{/* To where a source is fetched from; a redirect may lead to the usual ports. */}}
{{- define "telemetry.toSource" -}}
{{- $policy := .Values.networkPolicy | default dict -}}
{{- $address := dig "url" "address" "" (include "telemetry.source" . | fromYaml) -}}
{{- $usual := ternary 443 80 (hasPrefix "https:" $address) -}}
{{- $ports := include "telemetry.portsOf" (list $policy.sourcePorts $address $usual) | fromYamlArray -}}
{{- if and $ports (not $policy.sourcePorts) }}{{ $ports = concat $ports (list 80 443) }}{{ end -}}
{{- $seen := list -}}
{{- range $ports }}{{ $seen = append $seen (int .) }}{{ end -}}
{{- include "telemetry.rule" (list ($seen | uniq | sortAlpha) $policy.sourceTo) -}}
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
