{{/*
What each role is told, as a list of variables. Those that all of them share are in _settings.tpl. No password stands here:
*_FILE names the file of a Secret.
*/}}

{{/* A role's variables and those that values add, which win: (list text extraEnv). No name may be there twice. */}}
{{- define "telemetry.env" -}}
{{- $more := index . 1 | default list -}}
{{- $named := dict -}}
{{- range $more }}{{ $_ := set $named .name true }}{{ end -}}
{{- $kept := list -}}
{{- range index . 0 | fromYamlArray }}{{ if not (hasKey $named .name) }}{{ $kept = append $kept . }}{{ end }}{{ end -}}
{{- concat $kept $more | toYaml -}}
{{- end }}

{{- define "telemetry.streamerEnv" -}}
{{- $streamer := .Values.streamer | default dict -}}
{{ include "telemetry.logSettings" . }}
{{ include "telemetry.queueSettings" . }}
{{ include "telemetry.leaseSettings" . }}
{{ include "telemetry.databaseSettings" . }}
{{ include "telemetry.healthSettings" . }}
{{ include "telemetry.variable" (list "STREAMER_CSV" (include "telemetry.sourceFile" .)) }}
{{ include "telemetry.variable" (list "STREAMER_STREAM" (dig "stream" "csv" $streamer)) }}
{{ include "telemetry.variable" (list "STREAMER_RATE" (dig "rate" 5000 $streamer)) }}
{{ include "telemetry.variable" (list "STREAMER_BLOCK_ROWS" (dig "blockRows" 5000 $streamer)) }}
{{ include "telemetry.variable" (list "STREAMER_LEDGER_DAYS" (dig "ledgerDays" 7 $streamer)) }}
# one streamer to a pod: there is nobody to share an index with
{{ include "telemetry.variable" (list "STREAMER_INDEX_CACHE" "off") }}
{{- end }}

{{- define "telemetry.collectorEnv" -}}
{{- $collector := .Values.collector | default dict -}}
{{ include "telemetry.logSettings" . }}
{{ include "telemetry.queueSettings" . }}
{{ include "telemetry.leaseSettings" . }}
{{ include "telemetry.databaseSettings" . }}
{{ include "telemetry.healthSettings" . }}
{{ include "telemetry.variable" (list "COLLECTOR_WORKERS" (dig "workers" 1 $collector)) }}
{{ include "telemetry.variable" (list "COLLECTOR_BATCH_MESSAGES" (dig "batchMessages" 16 $collector)) }}
{{ include "telemetry.variable" (list "COLLECTOR_LINGER" (dig "linger" 0.2 $collector)) }}
{{ include "telemetry.variable" (list "COLLECTOR_BREAKER_SHARE" (dig "breakerShare" 0.75 $collector)) }}
{{- $retention := .Values.retention | default dict }}
{{ include "telemetry.variable" (list "RETENTION" (dig "readings" "auto" $retention)) }}
{{ include "telemetry.variable" (list "ROLLUP_RETENTION" (dig "rollups" "none" $retention)) }}
{{- end }}

{{- define "telemetry.apiEnv" -}}
{{- $api := .Values.api | default dict -}}
{{- $auth := $api.auth | default dict -}}
{{ include "telemetry.logSettings" . }}
{{ include "telemetry.queueSettings" . }}
{{ include "telemetry.databaseSettings" . }}
{{- if $api.writer }}
{{ include "telemetry.variable" (list "API_WRITER_URL_FILE" "/etc/telemetry/writer/url") }}
{{- end }}
{{ include "telemetry.variable" (list "API_HOST" "0.0.0.0") }}
{{ include "telemetry.variable" (list "API_PORT" 8080) }}
{{ include "telemetry.variable" (list "API_WORKERS" (dig "workers" 2 $api)) }}
{{ include "telemetry.variable" (list "API_THREADS" (dig "threads" 4 $api)) }}
{{ include "telemetry.variable" (list "API_STREAMS" (dig "streams" 16 $api)) }}
{{ include "telemetry.variable" (list "API_STATEMENT_TIMEOUT" (dig "statementTimeout" 10 $api)) }}
{{ include "telemetry.variable" (list "API_EXPORT_TIMEOUT" (dig "exportTimeout" 600 $api)) }}
{{ include "telemetry.variable" (list "API_BODY_MAX" (dig "bodyMax" 8388608 $api)) }}
{{ include "telemetry.variable" (list "API_TOKENS" (ternary "/etc/telemetry/tokens/tokens.json" "off" (dig "enabled" true $auth))) }}
{{ include "telemetry.variable" (list "API_METRICS_AUTH" (ternary "on" "off" (dig "metricsAuth" false $api))) }}
{{ include "telemetry.variable" (list "API_BEHIND_TLS" (ternary "on" "off" (eq (include "telemetry.behindTls" .) "yes"))) }}
{{- with $api.corsOrigins }}
{{ include "telemetry.variable" (list "API_CORS_ORIGIN" (join "," .)) }}
{{- end }}
{{- end }}
