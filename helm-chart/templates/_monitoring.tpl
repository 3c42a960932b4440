{{/* What Prometheus Operator and Grafana find: nothing, unless monitoring.enabled; then each piece that is not off. */}}

{{- define "telemetry.monitors" -}}
{{- $monitoring := (index . 0).Values.monitoring | default dict -}}
{{- if and $monitoring.enabled (dig (index . 1) "enabled" true $monitoring) }}yes{{ end -}}
{{- end }}

{{/* What is said of a piece: (list $ "serviceMonitor"). */}}
{{- define "telemetry.monitoringValues" -}}
{{- get ((index . 0).Values.monitoring | default dict) (index . 1) | default dict | toYaml -}}
{{- end }}

{{/* Metadata of a piece, with the labels by which it is found: (list $ "serviceMonitor" name). */}}
{{- define "telemetry.monitoringMetadata" -}}
{{- $root := index . 0 -}}
{{- $own := include "telemetry.monitoringValues" . | fromYaml -}}
{{- $found := merge dict ($own.labels | default dict) (dig "labels" dict ($root.Values.monitoring | default dict)) -}}
{{- include "telemetry.metadata" (list $root "monitoring" (index . 2)) }}
{{- with $found }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* How often, and how long: (list $ "serviceMonitor"). Rates of alerts look back over five minutes, and want five values. */}}
{{- define "telemetry.scrape" -}}
{{- $own := include "telemetry.monitoringValues" . | fromYaml -}}
{{- $path := printf "monitoring.%s" (index . 1) -}}
{{- $interval := dig "interval" "30s" $own -}}
{{- $timeout := dig "scrapeTimeout" "10s" $own -}}
{{- $every := include "telemetry.milliseconds" $interval | int64 -}}
{{- $patience := include "telemetry.milliseconds" $timeout | int64 -}}
{{- if or (lt $every 1000) (gt $every 60000) -}}
{{- include "telemetry.refuse" (list (printf "%s.interval" $path) (printf "%s is not from 1s to 1m, and at longer intervals alerts that look at rates never fire; set it to 30s" $interval)) -}}
{{- end -}}
{{- if or (lt $patience 1) (gt $patience $every) -}}
{{- include "telemetry.refuse" (list (printf "%s.scrapeTimeout" $path) (printf "%s is nothing or longer than the interval, and Prometheus Operator takes no such monitor; set it to %s at most" $timeout $interval)) -}}
{{- end -}}
interval: {{ $interval }}
scrapeTimeout: {{ $timeout }}
{{- end }}

{{/* A time as Prometheus writes it, 1m30s, in milliseconds. */}}
{{- define "telemetry.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[a-z]+" . -1 -}}
{{- $sum = add $sum (mul (regexFind "[0-9]+" . | int64) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{/* A pod's name says more than its address, and no two roles share one. */}}
{{- define "telemetry.scrapedPod" -}}
- sourceLabels: [__meta_kubernetes_pod_name]
  targetLabel: instance
{{- end }}

{{/* The token with which Prometheus asks the API: one of the chart's, or that of monitoring.serviceMonitor.tokenSecret. */}}
{{- define "telemetry.scrapeToken" -}}
{{- $own := include "telemetry.monitoringValues" (list . "serviceMonitor") | fromYaml -}}
{{- if dig "auth" "enabled" true (.Values.api | default dict) }}
authorization:
  type: Bearer
  credentials:
    {{- if $own.tokenSecret }}
    name: {{ $own.tokenSecret }}
    key: {{ $own.tokenKey | default "token" }}
    {{- else if include "telemetry.makesTokens" . }}
    name: {{ include "telemetry.named" (list . "api-tokens") }}
    key: {{ include "telemetry.askingToken" . }}
    {{- else }}
    {{- include "telemetry.refuse" (list "monitoring.serviceMonitor.tokenSecret" "Prometheus needs a token, and the chart has only the digests of api.auth.existingSecret; name a Secret with a token of scope read under the key token, or set monitoring.serviceMonitor.enabled=false") -}}
    {{- end }}
{{- end }}
{{- end }}

{{/* Where Prometheus and Grafana are, as a peer of network policies: (list $ "podMonitor"), if that piece is on. */}}
{{- define "telemetry.fromMonitoring" -}}
{{- if include "telemetry.monitors" . }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ dig "namespace" "monitoring" ((index . 0).Values.monitoring | default dict) }}
{{- end }}
{{- end }}

{{/*
The reader's login as Grafana takes it: host, user, password, database, sslmode. A `$` would be taken for a variable.
*/}}
{{- define "telemetry.grafanaLogin" -}}
{{- $postgres := .Values.postgres | default dict -}}
{{- $said := include "telemetry.loginValues" (list . "reader") | fromYaml -}}
{{- $own := include "telemetry.monitoringValues" (list . "datasource") | fromYaml -}}
{{- if $said.existingSecret -}}
{{- include "telemetry.refuse" (list "monitoring.datasource.enabled" (printf "the reader's login is in Secret %s, which the chart cannot read; set monitoring.datasource.enabled=false and give Grafana a data source (type grafana-postgresql-datasource) by hand" $said.existingSecret)) -}}
{{- end -}}
{{- if and (not (include "telemetry.own" (list . "postgres"))) (ne (include "telemetry.login" (list . "reader")) "reader") -}}
{{- include "telemetry.refuse" (list "monitoring.datasource.enabled" (printf "Grafana would log in as the %s does, who may change everything; set postgres.reader.url, or monitoring.datasource.enabled=false and give Grafana a data source by hand" (include "telemetry.login" (list . "reader")))) -}}
{{- end -}}
{{- if include "telemetry.own" (list . "postgres") -}}
{{- $place := printf "%s.%s:%d" (include "telemetry.named" (list . "postgres")) .Release.Namespace (dig "port" 5432 $postgres | int) -}}
{{- $password := include "telemetry.password" (list . (include "telemetry.databaseSecret" (list . "reader")) "password") -}}
{{- dict "url" $place "user" (include "telemetry.databaseUser" (list . "reader")) "password" $password "database" (dig "database" "gpu" $postgres) "sslmode" ($own.sslMode | default "disable") | toYaml -}}
{{- else -}}
{{- $url := urlParse $said.url -}}
{{- $login := splitn ":" 2 $url.userinfo -}}
{{- if contains "%" $url.userinfo -}}
{{- include "telemetry.refuse" (list "monitoring.datasource.enabled" "the reader's login has signs that are written as %.. in its URL, which the chart cannot turn back; set monitoring.datasource.enabled=false and give Grafana a data source by hand") -}}
{{- end -}}
{{- $wanted := regexFind "sslmode=[a-z-]+" ($url.query | default "") | trimPrefix "sslmode=" -}}
{{- $known := ternary $wanted "require" (has $wanted (list "disable" "require" "verify-ca" "verify-full")) -}}
{{- $host := ternary $url.host (printf "%s:5432" $url.host) (regexMatch ":[0-9]+$" $url.host) -}}
{{- dict "url" $host "user" $login._0 "password" ($login._1 | default "" | replace "$" "$$") "database" (trimPrefix "/" $url.path) "sslmode" ($own.sslMode | default $known) | toYaml -}}
{{- end -}}
{{- end }}
